package meshstate

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sidecar answers on /state and /metrics.
func sidecar(t *testing.T, status int, state string) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, state)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# HELP x\ngo_goroutines 7\naxle_build_info{version=\"v1\"} 1\naxle_downstream_requests_total 5\n")
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv
}

func TestState(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	cases := map[string]struct {
		url  string
		want State
		err  string
	}{
		"a sidecar that serves": {
			sidecar(t, 200, `{"state":"serving","version":"v1","generation":3}`).URL, State{Serving, "v1", 3}, "",
		},
		"nobody listens":       {gone.URL, State{State: Absent}, ""},
		"an error status":      {sidecar(t, 503, `{"state":"serving"}`).URL, State{}, "status 503"},
		"something else there": {sidecar(t, 200, `hello`).URL, State{}, "invalid character"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var src Source
			got, err := src.State(context.Background(), tc.url+"/state")
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want one about %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHandlerShowsTheSidecarsOwnMetrics(t *testing.T) {
	srv := sidecar(t, 200, `{"state":"serving","version":"v1","generation":3}`)
	rec := httptest.NewRecorder()
	Handler(srv.URL+"/state", srv.URL+"/metrics").ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/mesh", nil))
	var got View
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := View{State: State{Serving, "v1", 3}, Metrics: []string{`axle_build_info{version="v1"} 1`, "axle_downstream_requests_total 5"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("view (-want +got):\n%s", diff)
	}
}

func TestHandlerSaysWhyThereIsNothing(t *testing.T) {
	srv := sidecar(t, 500, ``)
	rec := httptest.NewRecorder()
	Handler(srv.URL+"/state", srv.URL+"/metrics").ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/mesh", nil))
	var got View
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got.Problem, "status 500") || got.Metrics != nil {
		t.Errorf("view %+v", got)
	}
}
