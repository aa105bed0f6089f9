package proxy_test

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/axlemesh/axle/sidecar/config"
)

// refusing is an endpoint that does this with its first stream, and answers every other.
func refusing(t *testing.T, first func(s *http2Script, id uint32)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	seen := 0
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			refuseFirst(conn, &seen, first)
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func refuseFirst(conn net.Conn, seen *int, first func(s *http2Script, id uint32)) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	s := newHTTP2Script()
	_ = s.WriteSettings()
	fr := http2.NewFramer(io.Discard, conn)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	bodies := map[uint32]string{}
	for {
		if _, err := conn.Write(s.Bytes()); err != nil {
			return
		}
		s.Reset()
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		id, ended := f.Header().StreamID, f.Header().Flags&1 == 1
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			bodies[id] = ""
		case *http2.DataFrame:
			bodies[id] += string(f.Data())
		default:
			continue
		}
		switch {
		case *seen == 0:
			*seen++
			if first(s, id); s.Len() == 0 {
				return
			}
			delete(bodies, id)
		case ended:
			s.headers(id, false, 0, ":status= 200")
			_ = s.WriteData(id, true, []byte(bodies[id]))
		}
	}
}

// TestWhatNobodyLookedAtIsSentAgain: whatever it is, as long as all of it that has come is kept.
func TestWhatNobodyLookedAtIsSentAgain(t *testing.T) {
	refused := func(s *http2Script, id uint32) { _ = s.WriteRSTStream(id, http2.ErrCodeRefusedStream) }
	above := func(s *http2Script, _ uint32) { _ = s.WriteGoAway(0, http2.ErrCodeNo, nil) }
	lost := func(*http2Script, uint32) {}
	retry := config.Retry{Statuses: []int{503}, Backoff: time.Millisecond}
	safe := retry
	safe.On, safe.AnyMethod = config.RetryReset, true
	cases := map[string]struct {
		first func(s *http2Script, id uint32)
		retry *config.Retry
		ok    bool
	}{
		"a stream that is refused":            {refused, &retry, true},
		"one above the last of a GOAWAY":      {above, &retry, true},
		"one that is lost may have been read": {lost, &retry, false},
		"unless that does not matter":         {lost, &safe, true},
		"without retries the client has it":   {refused, nil, false},
	}
	for name, tc := range cases {
		for _, body := range []io.Reader{strings.NewReader("all of it"), &dripping{rest: "it comes bit by bit, when the endpoint has ended"}} {
			t.Run(name, func(t *testing.T) {
				addr := freePort(t)
				s := ruled(addr, config.HTTP2, map[string]netip.AddrPort{"v1": refusing(t, tc.first)}, config.Route{Name: "r", Cluster: "v1", Retry: tc.retry})
				e := started(t, 1, s)
				text := body
				if d, ok := body.(*dripping); ok {
					text = &dripping{rest: d.rest}
				}
				want, _ := io.ReadAll(body)
				if r, ok := text.(*strings.Reader); ok {
					_, _ = r.Seek(0, io.SeekStart)
				}
				// The client does not try again by itself: it has no GetBody.
				got, err := ask2(web2(t, addr), "POST", "/", io.MultiReader(text))
				if ok := err == nil && got.status == 200 && got.body == string(want); ok != tc.ok {
					t.Errorf("%+v, %v; want success %t", got, err, tc.ok)
				}
				if n := e.Stats().Retried; (n == 1) != tc.ok {
					t.Errorf("%d retries", n)
				}
				nothingHeld(t, e)
			})
		}
	}
}
