package meshapi

import (
	"io"
	"net/http/httptest"
	"testing"
)

func TestState(t *testing.T) {
	srv := httptest.NewServer(Handler(func() State { return State{State: Serving, Version: "v1", Generation: 3} }))
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL + "/state")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want := "{\"state\":\"serving\",\"version\":\"v1\",\"generation\":3}\n"; string(body) != want || !resp.Close {
		t.Errorf("body %q, close %v; want %q and an end", body, resp.Close, want)
	}
	other, err := srv.Client().Post(srv.URL+"/state", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = other.Body.Close()
	if other.StatusCode != 405 {
		t.Errorf("POST: %d, want 405", other.StatusCode)
	}
}
