//go:build interop

package interop

import (
	"context"
	"strconv"
	"testing"
)

var dubboJars = made(func(ctx context.Context) (string, error) { return machine().Java(ctx, "dubbo") })

// TestDubbo: the stock client and server of Java, with the protocol of Dubbo 2. Only requests in hessian2 say to a sidecar
// which service they are for; others pass through a listener that has one cluster.
func TestDubbo(t *testing.T) {
	needs(t, "dubbo")
	cases := map[string][]string{
		"hessian2": {
			`service: "axle.interop.Ledger:1.0@gray", cluster: peer`,
			`service: "com.axlemesh.interop.Unknown:1.0@gray", cluster: peer`, // the server does not know it
		},
		"fastjson2": nil,
	}
	for serialization, routes := range cases {
		t.Run(serialization, func(t *testing.T) {
			port := freePort(t)
			java(t, dubboJars, "DubboServer", strconv.Itoa(port), "dubbo").says("serving")
			m := newMesh(t, "dubbo", port, routes...)
			m.carries(client{
				process: java(t, dubboJars, "DubboClient", strconv.Itoa(m.client.port), serialization, "dubbo").says("calling"),
				kinds: []string{
					"sync", "post", "large", "slow", "oneway", "future", "timeout", "error", "generic", "unknown", "unrouted",
				},
			})
		})
	}
}
