package http1_test

import (
	"testing"

	"github.com/axlemesh/axle/sidecar/codec/http1"
)

func TestValues(t *testing.T) {
	cases := map[string]struct {
		fields, value, all string
		ok, more           bool
	}{
		"none":                       {"", "", "", false, false},
		"one, whatever its case":     {"X-User: ann\r\n", "ann", "ann", true, false},
		"one that is empty":          {"x-user:\r\n", "", "", true, false},
		"several, with some between": {"x-user: ann\r\nA: b\r\nX-USER: bob\r\n", "ann", "ann, bob", true, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var r http1.Request
			if _, err := r.Decode([]byte("GET / HTTP/1.1\r\nHost: a\r\n"+tc.fields+"\r\n"), http1.Limits{}); err != nil {
				t.Fatal(err)
			}
			value, ok, more := r.Values("x-user")
			if string(value) != tc.value || ok != tc.ok || more != tc.more {
				t.Errorf("Values = %q, %t, %t; want %q, %t, %t", value, ok, more, tc.value, tc.ok, tc.more)
			}
			if all := string(r.AppendValues(nil, "x-user")); all != tc.all {
				t.Errorf("AppendValues = %q, want %q", all, tc.all)
			}
		})
	}
}
