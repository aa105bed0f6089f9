package http2

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
)

func FuzzFrame(f *testing.F) {
	f.Add(recorded()[len(Preface):])
	f.Add([]byte{0, 0, 4, 8, 0, 0x80, 0, 0, 1, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, n, err := nextFrame(b)
		if n > len(b) || n > 0 && len(got.payload) != n-frameHeader {
			t.Fatalf("%d bytes of %d, payload of %d", n, len(b), len(got.payload))
		}
		h, wantErr := http2.ReadFrameHeader(bytes.NewReader(b))
		if n == 0 || err != nil || wantErr != nil {
			return
		}
		if got.stream != h.StreamID || got.kind != byte(h.Type) || got.flags != byte(h.Flags) || len(got.payload) != int(h.Length) {
			t.Fatalf("%+v, another reader says %v", got, h)
		}
	})
}

// FuzzConn takes anything on either side: in one piece, and moved to another process after every frame, with the same result.
func FuzzConn(f *testing.F) {
	f.Add(recorded(), false)
	s := newScript(false)
	s.headers(1, false, ":status: 200", "x: y")
	_ = s.WriteData(1, true, []byte("body"))
	_ = s.WriteGoAway(1, http2.ErrCodeNo, nil)
	f.Add(s.Bytes(), true)
	f.Fuzz(func(t *testing.T, b []byte, client bool) {
		start := func() *Conn {
			c := &Conn{}
			c.Start(client, nil)
			if client {
				c.Open()
				c.Open()
			}
			return c
		}
		turn := &Turn{}
		whole := start()
		said, rest, err := run(whole, b, turn)
		out := append([]byte(nil), turn.Out...)
		turn.Out = turn.Out[:0]

		c := start()
		var again []string
		var againErr error
		left := b
		for len(left) > 0 && againErr == nil {
			var n int
			n, againErr = c.Take(left, turn)
			if n == 0 || againErr != nil {
				break
			}
			left = left[n:]
			if line := tell(turn); line != "" {
				again = append(again, line)
			}
			if turn.Kind == Data {
				turn.Out = c.AppendCredit(turn.Out, turn.Stream, len(turn.Data))
			}
			next := &Conn{}
			if _, err := next.Parse(c.AppendBinary(nil)); err != nil {
				t.Fatalf("%v after %d bytes", err, len(b)-len(left))
			}
			next.budget = c.budget
			c = next
		}
		if diff := cmp.Diff(said, again); diff != "" || len(rest) != len(left) || !bytes.Equal(out, turn.Out) {
			t.Fatalf("%d and %d bytes left, %x and %x written; (-whole +moved):\n%s", len(rest), len(left), out, turn.Out, diff)
		}
		var e1, e2 *Error
		if errors.As(err, &e1) != errors.As(againErr, &e2) || e1 != nil && *e1 != *e2 {
			t.Fatalf("%v, moved %v", err, againErr)
		}
	})
}

func FuzzParse(f *testing.F) {
	var c Conn
	c.Start(false, nil)
	_, _, _ = run(&c, recorded(), &Turn{})
	f.Add(c.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Conn
		if _, err := c.Parse(b); err != nil {
			return
		}
		state := c.AppendBinary(nil)
		var again Conn
		if _, err := again.Parse(state); err != nil || !bytes.Equal(again.AppendBinary(nil), state) {
			t.Fatalf("what was parsed is not what is written: %v", err)
		}
	})
}
