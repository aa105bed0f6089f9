package dubbo

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"unicode/utf8"
)

// plainSpan is span, a unit at a time.
func plainSpan(b []byte, units int) int {
	at := 0
	for units > 0 {
		c, size := utf8.DecodeRune(b[at:])
		if c == utf8.RuneError {
			return -1
		}
		if units--; size == 4 {
			if units--; units < 0 {
				return -1
			}
		}
		at += size
	}
	return at
}

// Words are looked at eight bytes at a time, and what follows them must not count.
func TestSpanIsThatOfOneUnitAtATime(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	letters := []string{"a", "b", "\x7f", "\x00", "é", "世", "😀"}
	for range 20000 {
		var b []byte
		for range random.IntN(40) {
			which := 4 // mostly ASCII, as names are
			if random.IntN(4) == 0 {
				which = len(letters)
			}
			b = append(b, letters[random.IntN(which)]...)
		}
		if random.IntN(3) == 0 {
			b = binary.BigEndian.AppendUint32(b, random.Uint32()) // what follows a string may be anything
		}
		units := random.IntN(45)
		if got, want := span(b, units), plainSpan(b, units); got != want && utf8.Valid(b) {
			t.Fatalf("%d units of %q take %d bytes, want %d", units, b, got, want)
		}
	}
}
