//go:build interop

package interop

import (
	"strconv"
	"testing"
)

const ledgerRoute = `service: "axle.interop.Ledger:1.0", cluster: peer`

// TestSOFARPCJava: the stock client and server of Java.
func TestSOFARPCJava(t *testing.T) {
	port := freePort(t)
	java(t, sofarpcJars, "LedgerServer", strconv.Itoa(port)).says("serving")
	m := newMesh(t, "bolt", port, ledgerRoute, `service: "com.axlemesh.interop.Unknown:1.0", cluster: peer`)
	m.carries(client{
		process: java(t, sofarpcJars, "LedgerClient", strconv.Itoa(m.client.port)).says("calling"),
		kinds: []string{
			"sync", "post", "large", "slow", "oneway", "future", "callback", "timeout", "error", "generic", "unknown", "unrouted",
		},
	})
}
