package proxyproto

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

const v2 = "\r\n\r\n\x00\r\nQUIT\n"

func ends(source, destination string) Header {
	return Header{netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)}
}

var headers = map[string]struct {
	header string
	want   Header
}{
	"text, IPv4":                {"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", ends("192.0.2.1:56324", "198.51.100.7:443")},
	"text, IPv6":                {"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", ends("[2001:db8::1]:1", "[::1]:65535")},
	"text, unknown":             {"PROXY UNKNOWN\r\n", Header{}},
	"text, unknown with fields": {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Header{}},
	"binary, IPv4":              {v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb", ends("192.0.2.1:56324", "198.51.100.7:443")},
	"binary, IPv4 and a TLV":    {v2 + "\x21\x11\x00\x10\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb\x04\x00\x01\x00", ends("192.0.2.1:56324", "198.51.100.7:443")},
	"binary, IPv6": {v2 + "\x21\x21\x00\x24\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + strings.Repeat("\x00", 15) + "\x01\x00\x01\xff\xff",
		ends("[2001:db8::1]:1", "[::1]:65535")},
	"binary, local":         {v2 + "\x20\x00\x00\x00", Header{}},
	"binary, local, longer": {v2 + "\x20\x11\x00\x02ab", Header{}},
	"binary, a Unix socket": {v2 + "\x21\x31\x00\xd8" + strings.Repeat("a", 216), Header{}},
}

func TestNext(t *testing.T) {
	for name, tc := range headers {
		t.Run(name, func(t *testing.T) {
			for cut := range len(tc.header) { // it comes byte by byte
				if _, _, err := Next([]byte(tc.header[:cut])); !errors.Is(err, ErrShort) {
					t.Fatalf("after %d bytes: %v, want ErrShort", cut, err)
				}
			}
			got, n, err := Next([]byte(tc.header + "GET"))
			if err != nil || n != len(tc.header) || got != tc.want {
				t.Errorf("%+v, %d bytes, %v; want %+v and %d bytes", got, n, err, tc.want, len(tc.header))
			}
		})
	}
}

func TestRefused(t *testing.T) {
	cases := map[string]struct{ header, want string }{
		"no header":             {"GET / HTTP/1.1\r\n", "no header"},
		"another word":          {"PROXY2 TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "line"},
		"one word":              {"PROXY\r\n", "line"},
		"another family":        {"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n", "family"},
		"too few fields":        {"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", "5 fields"},
		"two spaces":            {"PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n", "7 fields"},
		"an address":            {"PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n", "source"},
		"the other family":      {"PROXY TCP4 ::1 ::1 1 1\r\n", "source"},
		"a zone":                {"PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n", "source"},
		"a port with a sign":    {"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", "source"},
		"a port with a zero":    {"PROXY TCP4 1.1.1.1 1.1.1.1 1 01\r\n", "destination"},
		"a port that is none":   {"PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n", "destination"},
		"a line without an end": {"PROXY TCP4 " + strings.Repeat("1", 200), "no end"},
		"binary, version 3":     {v2 + "\x31\x11\x00\x00", "version 3"},
		"binary, command 2":     {v2 + "\x22\x11\x00\x00", "command 2"},
		"binary, too short":     {v2 + "\x21\x11\x00\x04abcd", "addresses"},
		"binary, too long":      {v2 + "\x21\x11\xff\xff", "limit"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, _, err := Next([]byte(tc.header))
			if format := (*FormatError)(nil); !errors.As(err, &format) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want a FormatError with %q", err, tc.want)
			}
		})
	}
}

func FuzzNext(f *testing.F) {
	for _, tc := range headers {
		f.Add([]byte(tc.header))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Next(b)
		switch {
		case err != nil && (n != 0 || h != Header{}):
			t.Errorf("%+v and %d bytes with error %v", h, n, err)
		case errors.Is(err, ErrShort) && len(b) >= MaxHeader:
			t.Errorf("%d bytes are not enough", len(b))
		case err == nil && (n <= 0 || n > len(b)):
			t.Errorf("%d bytes of %d", n, len(b))
		}
		if err == nil && n < len(b) { // what follows does not matter
			if again, m, err := Next(b[:n]); again != h || m != n || err != nil {
				t.Errorf("alone it is %+v, %d bytes, %v", again, m, err)
			}
		}
	})
}
