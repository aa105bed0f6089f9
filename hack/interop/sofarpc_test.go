//go:build interop

package interop

import (
	"strconv"
	"testing"

	"github.com/axlemesh/axle/hack/testport"
)

var (
	// ledgers are the stock servers of axle.interop.Ledger.
	ledgers = map[string]func(t *testing.T, port string) *process{
		"Java": func(t *testing.T, port string) *process { return java(t, sofarpcJars, "LedgerServer", port) },
		"Node": func(t *testing.T, port string) *process { return node(t, "sofarpc-server.js", port) },
	}
	ledgerRoutes = []string{
		`service: "axle.interop.Coins:1.0", cluster: peer`,
		`service: "axle.interop.Ledger:1.0", cluster: peer`,
		`service: "com.axlemesh.interop.Unknown:1.0", cluster: peer`, // the server does not know it
	}
)

// TestSOFARPC: the stock clients and servers of SOFARPC for Java and of sofa-rpc-node, each with each.
func TestSOFARPC(t *testing.T) {
	clients := map[string]func(t *testing.T, port string) client{
		"Java": func(t *testing.T, port string) client {
			return client{
				process: java(t, sofarpcJars, "LedgerClient", port),
				kinds: []string{
					"sync", "post", "large", "slow", "oneway", "future", "callback", "timeout", "error", "generic", "unknown", "unrouted",
				},
			}
		},
		"Node": func(t *testing.T, port string) client {
			c := client{process: node(t, "sofarpc-client.js", port)}
			for _, form := range []string{"v1", "v2", "crc"} {
				for _, kind := range []string{"sync", "post", "large", "slow", "note", "timeout", "error", "unknown"} {
					c.kinds = append(c.kinds, form+"-"+kind)
				}
			}
			return c
		},
	}
	for clientName, start := range clients {
		for serverName, serve := range ledgers {
			t.Run(clientName+" calls "+serverName, func(t *testing.T) {
				port := testport.Free(t)
				serve(t, strconv.Itoa(port)).says("serving")
				m := newMesh(t, "bolt", port, ledgerRoutes...)
				m.carries(start(t, strconv.Itoa(m.client.port)))
			})
		}
	}
}

// TestSOFABolt: the stock client and server below SOFARPC, with all three forms of frames, and an idle connection that
// only heartbeats keep.
func TestSOFABolt(t *testing.T) {
	port := testport.Free(t)
	java(t, sofarpcJars, "BoltServer", strconv.Itoa(port)).says("serving")
	m := newMesh(t, "bolt", port)
	c := client{process: java(t, sofarpcJars, "BoltClient", strconv.Itoa(m.client.port))}
	for _, form := range []string{"v1", "v2", "crc"} {
		for _, kind := range []string{"sync", "large", "future", "oneway", "throws", "unknown"} {
			c.kinds = append(c.kinds, form+"-"+kind)
		}
	}
	m.carries(c)
}

// TestSOFARPCOfJava: what only servers of Java offer.
func TestSOFARPCOfJava(t *testing.T) {
	port := testport.Free(t)
	java(t, sofarpcJars, "LedgerServer", strconv.Itoa(port)).says("serving")
	m := newMesh(t, "bolt", port, ledgerRoutes...)
	m.carries(client{
		process: java(t, sofarpcJars, "CoinsClient", strconv.Itoa(m.client.port)),
		kinds: []string{
			"protobuf", "protobuf-large", "protobuf-future", "protobuf-throws", "protobuf-baggage", "baggage", "unchecked", "no-method",
		},
	})
}
