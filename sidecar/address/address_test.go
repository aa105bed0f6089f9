package address

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseUnix(t *testing.T) {
	long := strings.Repeat("x", 107)
	cases := map[string]struct {
		name, why string
	}{
		"unix:///run/app.sock":  {name: "/run/app.sock"},
		"unix:@app":             {name: "@app"},
		"unix:@with/slash:5 %1": {name: "@with/slash:5 %1"},
		"unix:@" + long:         {name: "@" + long},
		"unix:///" + long[1:]:   {name: "/" + long[1:]},
		"127.0.0.1:80":          {},
		"unix:///" + long:       {why: "more than 107 bytes"},
		"unix:@" + long + "x":   {why: "more than 107 bytes"},
		"unix:@":                {why: "no absolute path"},
		"unix:///":              {why: "no absolute path"},
		"unix:run/app.sock":     {why: "neither unix:///path nor unix:@name"},
		"unix:/run/app.sock":    {why: "neither unix:///path nor unix:@name"},
		"unix://run/app.sock":   {why: "has a host"},
		"unix:@a\x00b":          {why: "zero byte"},
	}
	for text, tc := range cases {
		t.Run(text, func(t *testing.T) {
			a, is, err := ParseUnix(text)
			if is != strings.HasPrefix(text, "unix:") {
				t.Errorf("is %t", is)
			}
			if (tc.why == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.why) {
				t.Fatalf("%v, want %q", err, tc.why)
			}
			if name, ok := UnixName(a); name != tc.name || ok != (tc.name != "") || ok != Dialable(a) {
				t.Errorf("name %q, %t, dialable %t; want %q", name, ok, Dialable(a), tc.name)
			}
			if tc.name != "" && String(a) != text {
				t.Errorf("as text it is %q", String(a))
			}
		})
	}
}

// TestUnixAddressesMove: they are written down in a handover as all others are.
func TestUnixAddressesMove(t *testing.T) {
	for _, name := range []string{"/run/app.sock", "@app", "@" + strings.Repeat("x", 107)} {
		a, err := Unix(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := a.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var got netip.AddrPort
		if err := got.UnmarshalBinary(b); err != nil || got != a {
			t.Errorf("%v came back as %v, %v", a, got, err)
		}
	}
}

func TestWhatIsNoUnixAddress(t *testing.T) {
	for text, dialable := range map[string]bool{"127.0.0.1:80": true, "[::1]:80": true, "[fe80::1%eth0]:80": true, "127.0.0.1:0": false} {
		a := netip.MustParseAddrPort(text)
		if _, ok := UnixName(a); ok || Dialable(a) != dialable || String(a) != text {
			t.Errorf("%s: Unix %t, dialable %t, %q", text, ok, Dialable(a), String(a))
		}
	}
}
