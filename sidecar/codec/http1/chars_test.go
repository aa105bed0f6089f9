package http1

import (
	"bytes"
	"strings"
	"testing"
)

// TestControl puts every byte at every place of a word, among bytes whose neighbours could be mistaken for it.
func TestControl(t *testing.T) {
	for _, filler := range []byte{' ', '~', 0x80, 0xff, 'a'} {
		for at := range 24 {
			for c := range 256 {
				b := bytes.Repeat([]byte{filler}, 24)
				b[at] = byte(c)
				want := len(b)
				if c < ' ' || c == 0x7f {
					want = at
				}
				for from := range at + 1 {
					if got := control(b, from); got != want {
						t.Fatalf("control(% x, %d) = %d, want %d", b, from, got, want)
					}
				}
			}
		}
	}
}

func TestClasses(t *testing.T) {
	letters := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	digits := "0123456789"
	for name, tc := range map[string]struct {
		class class
		chars string
	}{
		"tchar":    {classToken, letters + digits + "!#$%&'*+-.^_`|~"},
		"reg-name": {className, letters + digits + "-._~" + "%" + "!$&'()*+,;="},
		"DIGIT":    {classDigit, digits},
		"HEXDIG":   {classHex, digits + "abcdefABCDEF"},
	} {
		for c := range 256 {
			if want := strings.IndexByte(tc.chars, byte(c)) >= 0; is(byte(c), tc.class) != want {
				t.Errorf("%s has %q: %v, want %v", name, byte(c), !want, want)
			}
		}
	}
}

func TestFold(t *testing.T) {
	for c := range 256 {
		for d := range 256 {
			want := byte(c) == byte(d) || 'A' <= c && c <= 'Z' && c+32 == d || 'A' <= d && d <= 'Z' && d+32 == c
			if got := foldAny([]byte{byte(c)}, string([]byte{byte(d)})); got != want {
				t.Errorf("foldAny(%q, %q) = %v", byte(c), byte(d), got)
			}
			if d < 'A' || d > 'Z' {
				if got := fold([]byte{byte(c)}, string([]byte{byte(d)})); got != want {
					t.Errorf("fold(%q, %q) = %v", byte(c), byte(d), got)
				}
			}
		}
	}
}
