package http1_test

import (
	"testing"

	"github.com/axlemesh/axle/sidecar/codec/change"
	"github.com/axlemesh/axle/sidecar/codec/http1"
)

func TestEdit(t *testing.T) {
	const line = "GET /api/a?b HTTP/1.1\r\n"
	cases := map[string]struct {
		fields  string
		changes []change.Field
		forward http1.Forward
		want    string
	}{
		"nothing": {"Host: a\r\nX: y\r\n", nil, http1.Forward{}, line + "Host: a\r\nX: y\r\n\r\n"},
		"set": {
			"Host: a\r\nX: y\r\nZ: z\r\nx: 2\r\n", []change.Field{{Op: change.Set, Name: "X", Value: "new"}}, http1.Forward{},
			line + "Host: a\r\nZ: z\r\nX: new\r\n\r\n",
		},
		"add": {
			"Host: a\r\nX: y\r\n", []change.Field{{Op: change.Add, Name: "X", Value: "2"}}, http1.Forward{}, line + "Host: a\r\nX: y\r\nX: 2\r\n\r\n",
		},
		"absent": {
			"Host: a\r\nX: y\r\n", []change.Field{{Op: change.Absent, Name: "x", Value: "2"}, {Op: change.Absent, Name: "b", Value: "3"}}, http1.Forward{},
			line + "Host: a\r\nX: y\r\nb: 3\r\n\r\n",
		},
		"remove, before anything is added": {
			"Host: a\r\nX: y\r\n", []change.Field{{Op: change.Add, Name: "X", Value: "2"}, {Op: change.Remove, Name: "x"}}, http1.Forward{},
			line + "Host: a\r\nX: 2\r\n\r\n",
		},
		"framing stays": {
			"Host: a\r\nContent-Length: 1\r\n", []change.Field{{Op: change.Set, Name: "X", Value: "1"}}, http1.Forward{},
			line + "Host: a\r\nContent-Length: 1\r\nX: 1\r\n\r\n",
		},
		"a host":                {"Host: a\r\nX: y\r\n", nil, http1.Forward{Authority: "b:1"}, line + "Host: b:1\r\nX: y\r\n\r\n"},
		"a prefix":              {"Host: a\r\n", nil, http1.Forward{Rewrite: http1.Rewrite{Cut: 4, With: "/v2"}}, "GET /v2/a?b HTTP/1.1\r\nHost: a\r\n\r\n"},
		"one slash where 2 met": {"Host: a\r\n", nil, http1.Forward{Rewrite: http1.Rewrite{Cut: 4, With: "/"}}, "GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"},
		"a whole path":          {"Host: a\r\n", nil, http1.Forward{Rewrite: http1.Rewrite{Cut: 6, With: "/z"}}, "GET /z?b HTTP/1.1\r\nHost: a\r\n\r\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var r http1.Request
			if _, err := r.Decode([]byte(line+tc.fields+"\r\n"), http1.Limits{}); err != nil {
				t.Fatal(err)
			}
			r.Edit(tc.changes)
			if got := string(r.AppendForward(nil, &tc.forward)); got != tc.want {
				t.Errorf("forwarded %q, want %q", got, tc.want)
			}
			r.Reset()
			if _, err := r.Decode([]byte(line+"Host: a\r\n\r\n"), http1.Limits{}); err != nil {
				t.Fatal(err)
			}
			if got := string(r.AppendForward(nil, &http1.Forward{})); got != line+"Host: a\r\n\r\n" {
				t.Errorf("the next head is %q: changes are for one", got)
			}
		})
	}
}

func TestAppendRedirect(t *testing.T) {
	const want = "HTTP/1.1 308 Permanent Redirect\r\nContent-Length: 0\r\nConnection: close\r\nLocation: /b\r\n\r\n"
	if got := string(http1.AppendRedirect(nil, 308, []byte("/b"), 1, true)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
