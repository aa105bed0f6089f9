package proxy_test

import (
	"net"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestAServersSpanNamesTheClient, and not the application that the request was sent to.
func TestAServersSpanNamesTheClient(t *testing.T) {
	origin, server := newOrigin(t, statusOnly(200)), serve(t, nil)
	for name, tc := range map[string]struct {
		s       *config.Snapshot
		request []byte
	}{
		"http1": {inbound(freePort(t), config.HTTP1, origin.addr), []byte("GET / HTTP/1.1\r\nHost: app\r\n\r\n")},
		"http2": {inbound(freePort(t), config.HTTP2, origin.addr), []byte(offer("GET", "", ""))},
		"bolt":  {inbound(freePort(t), config.Bolt, server.addr), headed(7, nil, "service", echoService)},
	} {
		t.Run(name, func(t *testing.T) {
			c := traced(t, 100)
			e := started(t, 1, tc.s)
			from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
			conn, err := from.Dial("tcp", tc.s.Listeners[0].Address.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			write(t, conn, tc.request)
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			until(t, "the request has ended", func() bool {
				ended := uint64(0)
				for _, c := range e.Stats().Series {
					ended += c.Ended()
				}
				return ended == 1
			})
			spans := c.all(t, e)
			if len(spans) != 1 {
				t.Fatalf("got %+v", spans)
			}
			spans[0].want(t, "client.address=127.0.0.2")
		})
	}
}
