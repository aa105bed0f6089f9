package bolt_test

import (
	"encoding/binary"
	"testing"

	"github.com/axlemesh/axle/sidecar/codec/bolt"
)

// withHeader is a request with this header map; nil is null.
func withHeader(t *testing.T, pairs ...any) bolt.Frame {
	t.Helper()
	var header []byte
	for _, s := range pairs {
		switch s := s.(type) {
		case string:
			header = append(binary.BigEndian.AppendUint32(header, uint32(len(s))), s...)
		case nil:
			header = append(header, 0xff, 0xff, 0xff, 0xff)
		case []byte:
			header = append(header, s...)
		}
	}
	b := []byte{1, 1, 0, 1, 1, 0, 0, 0, 7, 12, 0, 0, 0, 0, 0, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(len(header)))
	f, err := bolt.Next(append(append(b, 0, 0, 0, 0), header...))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestLookup(t *testing.T) {
	cases := map[string]struct {
		header []any
		want   string
		ok     bool
	}{
		"a header":                    {[]any{"a", "1", "user", "ann"}, "ann", true},
		"the last of several":         {[]any{"user", "ann", "user", "bob"}, "bob", true},
		"names are exact":             {[]any{"User", "ann"}, "", false},
		"a value is no name":          {[]any{"a", "user"}, "", false},
		"null reads as empty":         {[]any{"user", nil}, "", true},
		"a null name":                 {[]any{nil, "x", "user", "ann"}, "ann", true},
		"none at all":                 {nil, "", false},
		"what stands before a cut":    {[]any{"user", "ann", "b", []byte{0, 0, 0, 9, 'x'}}, "ann", true},
		"what would stand behind one": {[]any{[]byte{0x80, 0, 0, 0}, "user", "ann"}, "", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := withHeader(t, tc.header...)
			value, ok := f.Lookup("user")
			if string(value) != tc.want || ok != tc.ok {
				t.Errorf("Lookup = %q, %t; want %q, %t", value, ok, tc.want, tc.ok)
			}
			if n := testing.AllocsPerRun(10, func() { f.Lookup("user") }); n != 0 {
				t.Errorf("%v allocations, want 0", n)
			}
		})
	}
}
