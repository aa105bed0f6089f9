//go:build interop

package interop

import (
	"context"
	"strconv"
	"testing"

	"github.com/axlemesh/axle/hack/testport"
)

var dubboJars = made(func(ctx context.Context) (string, error) { return machine().Java(ctx, "dubbo") })

// TestDubbo: the stock client and server of Java, with the protocol of Dubbo 2. Only requests in hessian2 say to a sidecar
// which service they are for; others pass through a listener that has one cluster.
func TestDubbo(t *testing.T) {
	needs(t, "dubbo")
	cases := map[string][]string{
		"hessian2": {
			`service: "axle.interop.Ledger:1.0@gray", cluster: peer`,
			`service: "axle.interop.Coins:1.0@gray", cluster: peer`,
			`service: "com.axlemesh.interop.Unknown:1.0@gray", cluster: peer`, // the server does not know it
		},
		"fastjson2": nil,
	}
	for serialization, routes := range cases {
		t.Run(serialization, func(t *testing.T) {
			clients := map[string]func(t *testing.T, port string) client{
				"calls": func(t *testing.T, port string) client {
					return client{
						process: java(t, dubboJars, "DubboClient", port, serialization, "dubbo").says("calling"),
						kinds: []string{
							"sync", "post", "large", "slow", "oneway", "future", "timeout", "error", "generic", "unknown", "unrouted",
						},
					}
				},
				"and what else": func(t *testing.T, port string) client {
					return client{
						process: javaWith(t, dubboJars, []string{"-Xmx512m"}, "CoinsClient", port, serialization).says("calling"),
						kinds: []string{
							"attachments", "later", "unchecked", "rpc-exception", "generic-unchecked", "generic-later", "sent",
						},
					}
				},
			}
			for name, start := range clients {
				t.Run(name, func(t *testing.T) {
					port := testport.Free(t)
					dubboServer(t, port).says("serving")
					m := newMesh(t, "dubbo", port, routes...)
					m.carries(start(t, strconv.Itoa(m.client.port)))
				})
			}
		})
	}
}

// dubboServer has the memory for some of the largest messages.
func dubboServer(t *testing.T, port int) *process {
	t.Helper()
	return javaWith(t, dubboJars, []string{"-Xmx512m", "-Ddubbo.service.shutdown.wait=3000"}, "DubboServer", strconv.Itoa(port), "dubbo")
}

// TestDubboServerLeaves: a server that ends says before that it is read-only, and ends what it has begun. Its clients go to another one,
// and nothing fails. It comes back, and has calls again.
func TestDubboServerLeaves(t *testing.T) {
	needs(t, "dubbo")
	leaves, stays := testport.Free(t), testport.Free(t)
	first := dubboServer(t, leaves)
	dubboServer(t, stays).says("serving")
	first.says("serving")
	s := newSidecar(t, "outbound", "dubbo", traffic{listener: ", cluster: peer", to: []int{leaves, stays}})
	c := client{
		process: java(t, dubboJars, "DubboClient", strconv.Itoa(s.port), "hessian2", "dubbo").says("calling"),
		kinds:   []string{"sync", "post", "large", "slow", "future", "generic"},
	}
	c.goesOn(5)
	if len(connections(t, leaves)) == 0 || len(connections(t, stays)) == 0 {
		t.Fatal("the calls do not go to both servers")
	}
	_ = first.in.Close()
	c.goesOn(2)
	s.upgrade()
	first.ends()
	c.goesOn(2)
	dubboServer(t, leaves).says("serving")
	eventually(t, "the sidecar is back", func() bool { return len(connections(t, leaves)) > 0 })
	c.goesOn(5)
	_ = c.in.Close() // what it was to count is on two servers
	s.sound()
}
