package address

import (
	"net/netip"
	"testing"
)

// FuzzParseUnix: what is accepted is written as it was read, moves in a handover, and is no TCP endpoint.
func FuzzParseUnix(f *testing.F) {
	for _, s := range []string{"unix:///run/app.sock", "unix:@app", "unix:////a", "unix:@", "unix:///", "unix://host/a", "10.0.0.1:80", "unix:///a%b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, is, err := ParseUnix(s)
		if !is || err != nil {
			if a.IsValid() {
				t.Errorf("%q is refused, and is %v", s, a)
			}
			return
		}
		name, ok := UnixName(a)
		if back, err := Unix(name); !ok || err != nil || back != a || !Dialable(a) {
			t.Errorf("%q has the name %q, %v, which is %v, %v", s, name, ok, back, err)
		}
		if back, is, err := ParseUnix(String(a)); !is || err != nil || back != a {
			t.Errorf("%q is written %q, which is %v, %v", s, String(a), back, err)
		}
		b, err := a.MarshalBinary()
		var moved netip.AddrPort
		if err != nil || moved.UnmarshalBinary(b) != nil || moved != a {
			t.Errorf("%v moves as %v, %v", a, moved, err)
		}
	})
}
