//go:build interop

package interop

import (
	"strconv"
	"testing"

	"github.com/axlemesh/axle/hack/testport"
)

// TestTriple: the stock client and server of Java, with the protocol of Dubbo 3, which is HTTP/2: POJOs in hessian2, wrapped
// in messages of gRPC, and streams. The path names the service.
func TestTriple(t *testing.T) {
	needs(t, "http2")
	cases := map[string]struct {
		protocol string
		routes   []string
	}{
		"http2": {protocol: "http2", routes: []string{
			`service: "*", cluster: peer, match: [{header: ":path", prefix: "/axle.interop."}]`,
			`service: "*", cluster: peer, match: [{header: ":path", prefix: "/com.axlemesh.interop.Unknown/"}]`, // the server does not know it
		}},
		"auto": {protocol: "auto"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			port := testport.Free(t)
			java(t, dubboJars, "DubboServer", strconv.Itoa(port), "tri").says("serving")
			m := newMesh(t, tc.protocol, port, tc.routes...)
			m.carries(client{
				process: java(t, dubboJars, "DubboClient", strconv.Itoa(m.client.port), "hessian2", "tri").says("calling"),
				kinds: []string{
					"sync", "post", "large", "slow", "oneway", "future", "timeout", "error", "generic", "unknown", "unrouted",
					"stream", "streams", "count",
				},
			})
		})
	}
}
