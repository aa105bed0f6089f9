//go:build interop

package interop

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/hack/testport"
)

// nodeServer starts one of our servers for Node.js and returns its port.
func nodeServer(t *testing.T, script string) int {
	t.Helper()
	port := testport.Free(t)
	node(t, script, strconv.Itoa(port)).says("serving")
	return port
}

// TestSOAP: the stock node-soap, client and server, with SOAP 1.1 and 1.2.
func TestSOAP(t *testing.T) {
	m := newMesh(t, "http1", nodeServer(t, "soap-server.js"), `service: "127.0.0.1", cluster: peer`)
	c := client{process: node(t, "soap-client.js", strconv.Itoa(m.client.port))}
	for _, version := range []string{"soap11", "soap12"} {
		for _, kind := range []string{"post", "large", "fault", "fault-with-200"} {
			c.kinds = append(c.kinds, version+"-"+kind)
		}
	}
	m.carries(c)
}

// TestWebSocket: the stock ws, client and server, with and without compression, on two connections for ever.
func TestWebSocket(t *testing.T) {
	m := newMesh(t, "http1", nodeServer(t, "ws-server.js"), `service: shop.demo, cluster: peer`)
	c := client{process: node(t, "ws-client.js", strconv.Itoa(m.client.port))}
	for _, name := range []string{"plain", "deflate"} {
		for _, kind := range []string{"text", "binary", "ping", "pinged"} {
			c.kinds = append(c.kinds, name+"-"+kind)
		}
	}
	m.carries(c)
}

// TestWrk: many requests on few connections, and four upgrades. wrk counts what fails, and connects again silently, which the
// kernel tells.
func TestWrk(t *testing.T) {
	m := newMesh(t, "http1", nodeServer(t, "web-server.js"), `service: shop.demo, cluster: peer`)
	url := fmt.Sprintf("http://127.0.0.1:%d/text/7", m.client.port)
	wrk := launch(t, nil, "wrk", "-t", "2", "-c", "20", "-d", "15", "--timeout", "10", "-H", "Host: shop.demo", url)
	const requests = `axle_downstream_requests_total{direction="outbound"}`
	served := func() float64 { return m.client.metrics("axle_downstream_requests_total")[requests] }
	goesOn := func() {
		from := served()
		eventually(t, "requests are served", func() bool { return served() > from+200 })
	}
	goesOn()
	before := m.legs()
	for range 2 {
		m.peer.upgrade()
		goesOn()
		m.client.upgrade()
		goesOn()
	}
	if diff := cmp.Diff(before, m.legs()); diff != "" || len(before.Client) != 20 {
		t.Errorf("connections of %d clients (-before +after the upgrades):\n%s", len(before.Client), diff)
	}
	if !wrk.running() {
		t.Errorf("wrk ended before the last upgrade, after %s", time.Since(wrk.begun))
	}
	wrk.ends()
	said := wrk.out.String()
	if !strings.Contains(said, "requests in") || strings.Contains(said, "Socket errors") || strings.Contains(said, "Non-2xx") {
		t.Errorf("wrk says:\n%s", said)
	}
	t.Log(said)
	m.client.sound()
	m.peer.sound()
}
