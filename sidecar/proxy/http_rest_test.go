package proxy_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestALargeResponseLeavesItsConnectionUsable: reading from the endpoint pauses while much waits for the client, and the
// response may be complete at that moment.
func TestALargeResponseLeavesItsConnectionUsable(t *testing.T) {
	const size = 300_000 // more than may wait, and less than one turn reads
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, size))
	}))
	t.Cleanup(server.Close)
	addr := freePort(t)
	started(t, 1, httpSnapshot(addr, server.Listener.Addr().(*net.TCPAddr).AddrPort()))
	c := web(addr)
	for i := range 50 {
		res, err := c.Get("http://shop.demo/")
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if err != nil || n != size || res.StatusCode != http.StatusOK {
			t.Fatalf("response %d: %d, %d bytes, %v; want %d bytes", i, res.StatusCode, n, err, size)
		}
	}
}
