package proxy_test

import (
	"bufio"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestASpanThatWasSentAheadInVain: its batch was too heavy and thawed, its request ended, and the next one of that connection has
// no span: it does not get the old one when it moves.
func TestASpanThatWasSentAheadInVain(t *testing.T) {
	c := traced(t, 100)
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	o := newOrigin(t, func(int64, http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-answer
	})
	addr := freePort(t)
	s := httpSnapshot(addr, o.addr)
	e := started(t, 1, s)
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	in := bufio.NewReader(conn)
	ask := func(sampled string) {
		write(t, conn, []byte("GET / HTTP/1.1\r\nHost: shop.demo\r\ntraceparent: "+w3c+sampled+"\r\n\r\n"))
		<-asked
	}
	read := func() {
		answer <- struct{}{}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	ask("-01")
	w := begin(t, e, s)
	b := w.freeze(t, 2)
	for _, conn := range b.Conns {
		_ = unix.Close(conn.FD)
	}
	w.donor.Thaw(b.ID)
	read()
	ask("-00")
	w.commit(t, w.freeze(t, 2))
	read()
	if spans := c.all(t, e, w.to); len(spans) != 1 {
		t.Errorf("%d spans: %+v", len(spans), spans)
	}
}
