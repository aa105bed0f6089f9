package loop_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	record "github.com/axlemesh/axle/sidecar/codec/tls"
	"github.com/axlemesh/axle/sidecar/loop"
)

// ends are both ends of one session.
func ends(t testing.TB) (ours, theirs *record.Session) {
	t.Helper()
	x := record.Secrets{
		Version: record.VersionTLS13, Suite: 0x1301, ClientTraffic: bytes.Repeat([]byte{1}, 32), ServerTraffic: bytes.Repeat([]byte{2}, 32),
	}
	theirs, err := record.New(x)
	if err != nil {
		t.Fatal(err)
	}
	x.Server = true
	if ours, err = record.New(x); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// sealed is a client that speaks under TLS from its first byte.
type sealed struct {
	t       testing.TB
	conn    net.Conn
	session *record.Session
	in      []byte
}

func (s *sealed) write(b []byte) {
	if _, err := s.conn.Write(s.session.Seal(nil, b)); err != nil {
		s.t.Error(err)
	}
}

// read returns n bytes, or those before the end.
func (s *sealed) read(n int) (plain []byte, err error) {
	buf := make([]byte, 64<<10)
	for len(plain) < n {
		got, size, err := s.session.Open(s.in)
		if s.in = s.in[size:]; err != nil {
			return plain, err
		}
		if plain = append(plain, got...); size > 0 {
			continue
		}
		size, err = s.conn.Read(buf)
		if s.in = append(bytes.Clone(s.in), buf[:size]...); err != nil {
			return plain, err
		}
	}
	return plain, nil
}

// dialSealed connects, and makes the connection one under TLS at once, as a handshake would in time.
func dialSealed(t testing.TB, l *loop.Loop, h loop.Handler) (*sealed, *loop.Conn) {
	t.Helper()
	ours, theirs := ends(t)
	addr := listen(t, l, func() loop.Handler { return h })
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	var c *loop.Conn
	for c == nil {
		l.Call(func() {
			l.Each(func(it *loop.Conn) {
				c = it
				c.Shake()
				c.Secure(ours, nil)
			})
		})
	}
	return &sealed{t: t, conn: conn, session: theirs}, c
}

func TestEchoUnderTLS(t *testing.T) {
	l := start(t)
	e := &echo{closed: make(chan error, 1)}
	s, c := dialSealed(t, l, e)
	want := make([]byte, 8<<20)
	_, _ = rand.Read(want)
	go s.write(want)
	for unsent := 0; unsent < 1<<20; {
		l.Call(func() { unsent = c.Unsent() })
	}
	got, err := s.read(len(want))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came back, %v", len(got), err)
	}
	if _, err := s.conn.Write(s.session.End(nil, nil)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.read(1); !errors.Is(err, io.EOF) || len(got) > 0 {
		t.Errorf("%d bytes, %v; want a close_notify", len(got), err)
	}
	if n, err := s.conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("behind the close_notify: %d bytes, %v", n, err)
	}
	if why := <-e.closed; why != nil {
		t.Errorf("closed: %v", why)
	}
}

func TestEndsUnderTLS(t *testing.T) {
	cases := map[string]struct {
		last func(s *sealed) []byte
		want error
		told error
	}{
		"a bad record":    {func(s *sealed) []byte { return append(s.session.Seal(nil, []byte("x")), make([]byte, 50)...) }, &record.Error{}, record.AlertError(10)},
		"an alert":        {func(s *sealed) []byte { return s.session.End(nil, &record.Error{Alert: 80}) }, record.AlertError(80), nil},
		"half a record":   {func(s *sealed) []byte { return s.session.Seal(nil, []byte("x"))[:9] }, loop.ErrTruncated, nil},
		"nothing at all":  {func(*sealed) []byte { return nil }, loop.ErrTruncated, nil},
		"a clean goodbye": {func(s *sealed) []byte { return s.session.End(nil, nil) }, nil, io.EOF},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			e := &echo{closed: make(chan error, 1)}
			s, _ := dialSealed(t, l, e)
			if last := tc.last(s); len(last) > 0 {
				if _, err := s.conn.Write(last); err != nil {
					t.Fatal(err)
				}
			}
			_ = s.conn.(*net.TCPConn).CloseWrite()
			why := <-e.closed
			ours := (*record.Error)(nil)
			asWanted := errors.Is(why, tc.want) || errors.As(tc.want, &ours) && errors.As(why, &ours)
			if !asWanted {
				t.Errorf("closed: %v, want %v", why, tc.want)
			}
			if _, err := s.read(10); tc.told != nil && !errors.Is(err, tc.told) {
				t.Errorf("the peer was told %v, want %v", err, tc.told)
			}
		})
	}
}

// reader takes nothing while it is paused.
type reader struct {
	echo
	all   []byte
	ended chan int // how many bytes had come before
}

func (r *reader) Data(c *loop.Conn, b []byte) int {
	if r.all == nil {
		r.all = []byte{}
		c.Pause()
		return 0
	}
	r.all = append(r.all, b...)
	return len(b)
}

func (r *reader) EOF(*loop.Conn) { r.ended <- len(r.all) }

// TestAnEndBehindWhatIsPaused: the goodbye is in the same read as bytes that the handler does not take yet. It hears of it
// behind them, also when the connection moves in between.
func TestAnEndBehindWhatIsPaused(t *testing.T) {
	for _, moves := range []bool{false, true} {
		l := start(t)
		r := &reader{echo: echo{closed: make(chan error, 1)}, ended: make(chan int, 2)}
		s, c := dialSealed(t, l, r)
		if _, err := s.conn.Write(s.session.End(s.session.Seal(nil, []byte("some bytes")), nil)); err != nil {
			t.Fatal(err)
		}
		for shown := false; !shown; {
			l.Call(func() { shown = r.all != nil })
		}
		l.Call(func() {
			if moves {
				img := c.Freeze()
				state := img.Cipher.(*record.Session).AppendBinary(nil)
				again, err := record.Parse(state)
				if err != nil {
					t.Error(err)
				}
				img.Cipher, img.In, img.Raw = again, bytes.Clone(img.In), bytes.Clone(img.Raw)
				c = l.Restore(c.FD(), img, r)
				if err := c.Thaw(); err != nil {
					t.Error(err)
				}
			}
			c.Resume()
		})
		if n := <-r.ended; n != len("some bytes") {
			t.Errorf("moves %t: the end came behind %d bytes", moves, n)
		}
	}
}

// framed echoes whole frames, and leaves a rest.
type framed struct{ echo }

const frameSize = 999

func (f *framed) Data(c *loop.Conn, b []byte) int {
	n := len(b) / frameSize * frameSize
	return f.echo.Data(c, b[:n])
}

// TestMuchThatCameWithTheHandshake: the rest of a handshake is larger than what is read into the loop's own buffer.
func TestMuchThatCameWithTheHandshake(t *testing.T) {
	for _, size := range []int{1, 1000, 60_000, 70_000, 200_000, 500_000} {
		l := start(t)
		ours, theirs := ends(t)
		addr := listen(t, l, func() loop.Handler { return &framed{echo{closed: make(chan error, 1)}} })
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		s := &sealed{t: t, conn: conn, session: theirs}
		want := make([]byte, (size+100_000)/frameSize*frameSize)
		_, _ = rand.Read(want)
		rest := theirs.Seal(nil, want[:size])
		for done := false; !done; {
			l.Call(func() {
				l.Each(func(c *loop.Conn) {
					c.Secure(ours, rest[:len(rest)-3])
					done = true
				})
			})
		}
		go func() {
			_, _ = conn.Write(rest[len(rest)-3:]) // there is no Replay: this shows the rest, too
			s.write(want[size:])
		}()
		if got, err := s.read(len(want)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("a rest of %d bytes: %d of %d came back, %v; the right ones: %t", size, len(got), len(want), err, bytes.HasPrefix(want, got))
		}
		_ = conn.Close()
	}
}
