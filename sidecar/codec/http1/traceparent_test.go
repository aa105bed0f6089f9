package http1

import "testing"

func TestATraceparentIsAdded(t *testing.T) {
	const head = "GET /a HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n"
	var r Request
	if _, err := r.Decode([]byte(head+"\r\n"), Limits{}); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{"": head + "\r\n", "00-aa-bb-01": head + "traceparent: 00-aa-bb-01\r\n\r\n"} {
		if got := string(r.AppendForward(nil, &Forward{Traceparent: value})); got != want {
			t.Errorf("with %q:\n%q, want\n%q", value, got, want)
		}
	}
}
