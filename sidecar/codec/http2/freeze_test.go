package http2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// recorded is a session of a client that does a little of everything.
func recorded() []byte {
	s := newScript(true)
	_ = s.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 200}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3000})
	_ = s.WriteSettingsAck()
	s.headers(1, false, with(get, "x-one: first", "content-length: 6")...)
	_ = s.WriteData(1, false, []byte("abc"))
	s.headers(3, true, with(get, "x-one: first", "x-two: second")...)
	_ = s.WriteDataPadded(1, true, []byte("def"), []byte{0})
	s.hpack.SetMaxDynamicTableSize(100)
	block := append([]byte(nil), s.fields(with(get, "x-two: second", "x-three: third")...)...)
	_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: block[:4]})
	_ = s.WriteContinuation(5, true, block[4:])
	_ = s.WriteWindowUpdate(5, 7000)
	_ = s.WriteWindowUpdate(0, 7000)
	_ = s.WritePing(false, [8]byte{1})
	s.headers(7, false, with(get, "x-three: third")...)
	_ = s.WriteRSTStream(7, http2.ErrCodeCancel)
	_ = s.WriteData(5, false, bytes.Repeat([]byte("x"), 50))
	s.headers(5, true, "x-sum: 50")
	s.headers(9, true, with(get, "connection: close")...)
	s.headers(11, true, get...)
	return s.Bytes()
}

// serve plays the recorded session, and moves the connection's state to another one wherever move says. It returns what
// happened, and what a client understands of the answers.
func serve(t *testing.T, session []byte, move func(at int) bool) (said, sent []string) {
	t.Helper()
	c := &Conn{}
	c.Start(false, nil)
	turn := &Turn{}
	var wire []byte
	for at := 0; at < len(session); at++ {
		if move(at) {
			state := c.AppendBinary(nil)
			c = &Conn{}
			if rest, err := c.Parse(state); err != nil || len(rest) > 0 {
				t.Fatalf("at byte %d: %v, %d bytes left", at, err, len(rest))
			}
		}
		// one more byte has come
		more, rest, err := run(c, session[:at+1], turn)
		if err != nil {
			t.Fatalf("at byte %d: %v", at, err)
		}
		done := at + 1 - len(rest)
		session, at = session[done:], at-done
		said = append(said, more...)
		wire = append(wire, turn.Out...)
		turn.Out = turn.Out[:0]
		for _, line := range more {
			wire = answer(c, line, wire)
		}
	}
	fr := http2.NewFramer(nil, bytes.NewReader(wire))
	fr.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
	return said, frames(t, wire)
}

// answer responds to the end of a request.
func answer(c *Conn, line string, dst []byte) []byte {
	var id uint32
	if !strings.HasSuffix(line, "end=true") {
		return dst
	}
	if _, err := fmt.Sscan(line, &id); err != nil {
		return dst
	}
	var f Fields
	f.AddStatus(200)
	f.Add("x-answer", "the same each time")
	f.list[1].mode, f.list[1].hash = modeIndexed, 77
	s := c.Stream(id)
	dst = c.AppendHeaders(dst, s, &f, false)
	n := min(c.Sendable(s), 2500)
	h := c.DataHeader(s, n, true)
	return append(append(dst, h[:]...), make([]byte, n)...)
}

// TestFreezeAtEveryByte moves a connection once, at each byte of a session, and then at every byte at once.
func TestFreezeAtEveryByte(t *testing.T) {
	session := recorded()
	said, sent := serve(t, session, func(int) bool { return false })
	if len(said) < 8 || len(sent) < 12 {
		t.Fatalf("a dull session: %q, %q", said, sent)
	}
	moves := 0
	for cut := range len(session) {
		total := 0
		gotSaid, gotSent := serve(t, session, func(int) bool { total++; return total-1 == cut })
		if diff := cmp.Diff(said, gotSaid) + cmp.Diff(sent, gotSent); diff != "" {
			t.Fatalf("moved at byte %d (-want +got):\n%s", cut, diff)
		}
		moves++
	}
	gotSaid, gotSent := serve(t, session, func(int) bool { return true })
	if diff := cmp.Diff(said, gotSaid) + cmp.Diff(sent, gotSent); diff != "" {
		t.Fatalf("moved at every byte (-want +got):\n%s", diff)
	}
	t.Logf("%d moves of a session of %d bytes", moves, len(session))
}

func TestParseRefuses(t *testing.T) {
	var c Conn
	c.Start(false, nil)
	if _, _, err := run(&c, recorded(), &Turn{}); err != nil {
		t.Fatal(err)
	}
	state := c.AppendBinary(nil)
	for n := range state {
		if _, err := new(Conn).Parse(state[:n]); err == nil {
			t.Errorf("%d bytes of %d were enough", n, len(state))
		}
	}
}
