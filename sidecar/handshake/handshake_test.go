package handshake

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
)

// collector owns a handshake.
type collector struct {
	sent chan []byte
	done chan Result
}

func (c *collector) Send(b []byte) { c.sent <- b }
func (c *collector) Done(r Result) { c.done <- r }

func newCollector() *collector {
	return &collector{sent: make(chan []byte, 16), done: make(chan Result, 1)}
}

func TestAHandshakeEnds(t *testing.T) {
	gone := errors.New("gone")
	cases := map[string]struct {
		server bool
		do     func(h *Handshake)
		want   string
	}{
		"when it is aborted before a byte came": {true, func(h *Handshake) { h.Abort(gone) }, "gone"},
		"when it is aborted in the middle":      {false, func(h *Handshake) { h.Feed([]byte{22, 3, 3, 1, 0, 2}); h.Abort(gone) }, "gone"},
		"with the alert that came before":       {true, func(h *Handshake) { h.Feed([]byte{21, 3, 3, 0, 2, 2, 42}); h.Abort(gone) }, "bad certificate"},
		"at what is no record":                  {true, func(h *Handshake) { h.Feed([]byte("GET / HTTP/1.1\r\n\r\n")) }, "first record does not look like"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := newCollector()
			h := New(&tls.Config{InsecureSkipVerify: true}, tc.server, c)
			go h.Run()
			tc.do(h)
			if r := <-c.done; r.Err == nil || !strings.Contains(r.Err.Error(), tc.want) || r.Session != nil {
				t.Errorf("%+v, want %q", r, tc.want)
			}
		})
	}
}

// TestBothSidesInMemory shakes hands with itself; the sessions understand each other.
func TestBothSidesInMemory(t *testing.T) {
	i := newIssuer(t)
	_, certFile, keyFile := i.leaf("one.test", "", both...)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client, server := newCollector(), newCollector()
		cfg := &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, SessionTicketsDisabled: true}
		a, b := New(cfg, false, client), New(cfg, true, server)
		go a.Run()
		go b.Run()
		var ours, theirs *Result
		for ours == nil || theirs == nil {
			select {
			case x := <-client.sent:
				b.Feed(x)
			case x := <-server.sent:
				a.Feed(x)
			case r := <-client.done:
				ours = &r
			case r := <-server.done:
				theirs = &r
			}
		}
		if err := errors.Join(ours.Err, theirs.Err); err != nil {
			t.Fatal(err)
		}
		if len(ours.Chain) != 1 || len(theirs.Chain) != 0 {
			t.Errorf("chains of %d and %d", len(ours.Chain), len(theirs.Chain))
		}
		got, _, err := theirs.Session.Open(ours.Session.Seal(nil, []byte("hello")))
		if err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
	}
}
