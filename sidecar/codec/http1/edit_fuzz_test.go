package http1_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/axlemesh/axle/sidecar/codec/change"
	"github.com/axlemesh/axle/sidecar/codec/http1"
)

// values of the fields with a name.
func values(r *http1.Request, name string) (all []string) {
	for i := range r.Len() {
		if n, v := r.Field(i); strings.EqualFold(string(n), name) {
			all = append(all, string(v))
		}
	}
	return all
}

// FuzzEdit changes a field of any request: the next reader finds what the change is about, the same message, and the same route.
func FuzzEdit(f *testing.F) {
	for _, b := range seedsOf(false) {
		f.Add(b, "x-a", "v", uint8(change.Set))
	}
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\n\r\n"), "X-a", "3", uint8(change.Add))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-a\r\nX-A: 1\r\n\r\n"), "x-a", "", uint8(change.Absent))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n"), "x-a", "", uint8(change.Remove))
	f.Fuzz(func(t *testing.T, b []byte, name, value string, op uint8) {
		one := change.Field{Op: change.Op(op % 4), Name: "x-" + strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' {
				return r
			}
			return -1
		}, name), Value: strings.TrimSpace(strings.Map(func(r rune) rune {
			if r > ' ' && r < 0x7f {
				return r
			}
			return -1
		}, value))}
		var r, plain, edited http1.Request
		if _, err := r.Decode(b, http1.Limits{}); err != nil {
			return
		}
		large := http1.Limits{Line: 1 << 20, Head: 1 << 20, Fields: 1 << 10}
		if _, err := plain.Decode(r.AppendForward(nil, &http1.Forward{Host: "none"}), large); err != nil {
			return
		}
		r.Edit([]change.Field{one})
		out := r.AppendForward(nil, &http1.Forward{Host: "none"})
		if _, err := edited.Decode(out, large); err != nil {
			t.Fatalf("%+v makes %q: %v", one, out, err)
		}
		was, is := values(&plain, one.Name), values(&edited, one.Name)
		want := map[change.Op][]string{change.Set: {one.Value}, change.Add: append(slices.Clone(was), one.Value), change.Absent: was}[one.Op]
		if _, there := r.Value(one.Name); one.Op == change.Absent && !there {
			want = append(slices.Clone(was), one.Value)
		}
		if !slices.Equal(is, want) {
			t.Errorf("%+v makes %q of %q in %q", one, is, was, out)
		}
		if edited.Body != plain.Body || edited.Exchange() != plain.Exchange() || !bytes.Equal(edited.Target.Authority, plain.Target.Authority) {
			t.Errorf("%+v makes another message: %q", one, out)
		}
	})
}
