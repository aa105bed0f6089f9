package proxy

import (
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/sockets"
)

// FuzzHTTP2State gives a client the exchanges that another process has written down, or anything else.
func FuzzHTTP2State(f *testing.F) {
	e, err := New(Options{Sockets: &sockets.Set{}, Clock: func() time.Duration { return 1 }})
	if err != nil {
		f.Fatal(err)
	}
	w := e.workers[0]
	w.planned = map[string]*target{"r": {plan: &plan{key: "r", attempts: 3, retry: &config.Retry{On: config.RetryReset}, budget: &budget{}}}}
	request := func() *http2Client { return requesting(f, w) }
	c := asking(f, w)
	c.proto.Stream(1).Owner.(*http2Exchange).goal.route = w.planned["r"]
	fresh := len(c.proto.AppendBinary(nil))
	f.Add(c.state()[fresh:])
	f.Fuzz(func(t *testing.T, b []byte) {
		c := request()
		if err := c.restoreExchanges(b); err != nil {
			c.release()
			return
		}
		again := request()
		if err := again.restoreExchanges(c.state()[fresh:]); err != nil {
			t.Errorf("what was read cannot be read again: %v", err)
		}
	})
}

// requesting is a client whose request has come, of which nothing is known yet but its stream.
func requesting(f *testing.F, w *worker) *http2Client {
	c := w.newHTTP2Client(7, &config.Listener{Name: "in"})
	c.proto.Start(false, nil)
	b := []byte(http2.Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x05\x01\x04\x00\x00\x00\x01\x82\x86\x84\x41\x00")
	for len(b) > 0 {
		n, err := c.proto.Take(b, &w.http2.turn)
		if err != nil || n == 0 {
			f.Fatal(n, err)
		}
		b = b[n:]
	}
	return c
}

// asking is a client whose request waits for an answer.
func asking(f *testing.F, w *worker) *http2Client {
	c := requesting(f, w)
	x := w.newHTTP2Exchange(c, c.proto.Stream(1))
	x.cluster, x.head, x.kept.on = w.clusterNamed("shop"), []byte("head"), true
	x.response.trailers, x.response.end = []byte("trailers"), true
	return c
}
