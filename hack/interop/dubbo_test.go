//go:build interop

package interop

import (
	"context"
	"strconv"
	"testing"
)

var dubboJars = made(func(ctx context.Context) (string, error) { return machine().Java(ctx, "dubbo") })

// TestDubbo: the stock client and server of Java, with the protocol of Dubbo 2.
func TestDubbo(t *testing.T) {
	needs(t, "dubbo")
	port := freePort(t)
	java(t, dubboJars, "DubboServer", strconv.Itoa(port)).says("serving")
	m := newMesh(t, "dubbo", port, `service: "axle.interop.Ledger:1.0@gray", cluster: peer`,
		`service: "com.axlemesh.interop.Unknown:1.0@gray", cluster: peer`) // the server does not know it
	m.carries(client{
		process: java(t, dubboJars, "DubboClient", strconv.Itoa(m.client.port)).says("calling"),
		kinds: []string{
			"sync", "fastjson", "post", "large", "slow", "oneway", "future", "timeout", "error", "generic", "unknown", "unrouted",
		},
	})
}
