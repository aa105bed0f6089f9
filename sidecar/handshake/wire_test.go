package handshake

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// recordOf is a record of that type.
func recordOf(typ byte, b []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{typ, 3, 1}, uint16(len(b))), b...)
}

func TestRandomsAreFoundHoweverTheyAreCut(t *testing.T) {
	message := append([]byte{1, 0, 1, 0, 3, 3}, bytes.Repeat([]byte("r"), 32)...)
	message = append(message, make([]byte, 220)...)
	want := bytes.Repeat([]byte("r"), 32)
	for size := 1; size <= len(message); size += 7 {
		var stream []byte
		for rest := message; len(rest) > 0; {
			n := min(size, len(rest))
			stream, rest = append(stream, recordOf(22, rest[:n])...), rest[n:]
		}
		for _, step := range []int{1, 3, len(stream)} {
			var h hello
			for rest := stream; len(rest) > 0; {
				n := min(step, len(rest))
				h.see(rest[:n])
				rest = rest[n:]
			}
			if got := h.random(); !bytes.Equal(got, want) {
				t.Errorf("records of %d bytes in steps of %d: %q", size, step, got)
			}
		}
	}
	if got := (&hello{message: message[:37]}).random(); got != nil {
		t.Errorf("of 37 bytes: %q", got)
	}
}

// TestReadStopsAtTheRecord: what is behind a record stays with whoever comes behind the handshake.
func TestReadStopsAtTheRecord(t *testing.T) {
	w := newWire(nil)
	first, second := recordOf(22, []byte("first")), recordOf(23, []byte("second"))
	w.feed(append(bytes.Clone(first), second...))
	buf := make([]byte, 1000)
	if n, err := w.Read(buf); err != nil || !bytes.Equal(buf[:n], first) {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	if got := w.rest(); !bytes.Equal(got, second) {
		t.Errorf("the rest is %q", got)
	}
	for _, part := range []int{5, 4, 2} {
		if n, err := w.Read(buf[:part]); err != nil || n != part {
			t.Errorf("read %d of %d, %v", n, part, err)
		}
	}
}

func FuzzWire(f *testing.F) {
	f.Add(recordOf(22, []byte("first")), recordOf(23, []byte("second")), uint8(3))
	f.Fuzz(func(t *testing.T, a, b []byte, size uint8) {
		w := newWire(nil)
		all := append(bytes.Clone(a), b...)
		w.feed(a)
		w.feed(b)
		w.feed(make([]byte, 5)) // so that a read never waits
		var got []byte
		for buf := make([]byte, max(int(size), 1)); len(got)+5 <= len(all); {
			n, err := w.Read(buf)
			if err != nil || n == 0 {
				t.Fatalf("read %d, %v", n, err)
			}
			got = append(got, buf[:n]...)
		}
		if got = append(got, w.rest()...); !bytes.HasPrefix(got, all) {
			t.Errorf("read %q of %q", got, all)
		}
	})
}

func TestKeyLogLines(t *testing.T) {
	cases := map[string]struct {
		line string
		want string // the master secret
		bad  bool
	}{
		"a master secret":        {"CLIENT_RANDOM 00 6162\n", "ab", false},
		"a handshake's own":      {"CLIENT_HANDSHAKE_TRAFFIC_SECRET 00 6162\n", "", false},
		"too short":              {"CLIENT_RANDOM 00\n", "", true},
		"what is no hexadecimal": {"CLIENT_RANDOM 00 xy\n", "", true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var k keyLog
			_, err := k.Write([]byte(tc.line))
			if (err != nil) != tc.bad || string(k.secrets.Master) != tc.want {
				t.Errorf("%q, %v", k.secrets.Master, err)
			}
		})
	}
}
