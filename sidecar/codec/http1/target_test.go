package http1

import (
	"net/netip"
	"strings"
	"testing"
)

// TestLiterals takes every string of a few pieces and compares with netip, which knows zones besides.
func TestLiterals(t *testing.T) {
	pieces := []string{"", ":", "::", "1", "abcd", "12345", ":0:0", "1.2.3.4", ":255.256.0.1", ".01", "2:3:4", "g"}
	valid := 0
	var grow func(s string, depth int)
	grow = func(s string, depth int) {
		addr, err := netip.ParseAddr(s)
		want := err == nil && addr.Is6()
		if want {
			valid++
		}
		if got := ipv6([]byte(s)); got != want {
			t.Fatalf("ipv6(%q) = %v, want %v", s, got, want)
		}
		if depth > 0 {
			for _, p := range pieces[1:] {
				grow(s+p, depth-1)
			}
		}
	}
	grow("", 5)
	if valid < 100 {
		t.Errorf("only %d addresses were valid", valid)
	}
}

func TestAuthorities(t *testing.T) {
	for s, want := range map[string]string{
		"a": "a|", "a.b-c_d~e": "a.b-c_d~e|", "a:": "a|", "a:80": "a|80", "127.0.0.1:65535": "127.0.0.1|65535",
		"[::1]": "[::1]|", "[::ffff:1.2.3.4]:80": "[::ffff:1.2.3.4]|80", "[v1.a:b]:1": "[v1.a:b]|1", "a%41b": "a%41b|",
		"!$&'()*+,;=": "!$&'()*+,;=|",
		"":            "-", ":80": "-", "a:65536": "-", "a:-1": "-", "a:b": "-", "a b": "-", "a/b": "-", "u@a": "-", "[]": "-",
		"[v.a]": "-", "[v1.]": "-", "[v1.%]": "-", "[::1": "-", "::1": "-", "a%": "-", "a\x80": "-", "a:000080": "-",
	} {
		port, ok := splitAuthority([]byte(s))
		got := "-"
		if ok {
			got = strings.TrimSuffix(strings.TrimSuffix(s, string(port)), ":") + "|" + string(port)
		}
		if got != want {
			t.Errorf("splitAuthority(%q) = %s, want %s", s, got, want)
		}
	}
}
