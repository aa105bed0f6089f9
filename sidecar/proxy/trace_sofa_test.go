package proxy_test

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
)

// sofaRequests are two requests that SOFARPC 5.13.2 for Java sent, with its SOFATracer, as JSON lines.
//
//go:embed testdata/sofatracer.jsonl
var sofaRequests []byte

// TestSpansOfAStockSOFARPC: the trace goes on in the sidecar's span, which stands beside those of SOFATracer: they have no place for it,
// so the request goes on as it came.
func TestSpansOfAStockSOFARPC(t *testing.T) {
	lines := json.NewDecoder(bytes.NewReader(sofaRequests))
	for lines.More() {
		var one struct{ Form, Hex string }
		if err := lines.Decode(&one); err != nil {
			t.Fatal(err)
		}
		request, err := hex.DecodeString(one.Hex)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(one.Form, func(t *testing.T) {
			to, seen := wire(t, func() int { return len(request) }, func(b []byte) []byte { return frame(0, binary.BigEndian.Uint32(b[5:]), "", nil) })
			addr := freePort(t)
			c := traced(t, 0)
			e := started(t, 1, inbound(addr, config.Bolt, to))
			got := called(t, addr, bytes.Clone(request), 20, seen)
			copy(got[5:9], request[5:])
			if !bytes.Equal(request, got) {
				t.Errorf("the server got\n%q, want\n%q", got, request)
			}
			spans := c.all(t, e)
			if len(spans) != 1 {
				t.Fatalf("%d spans: %v", len(spans), spans)
			}
			id := spans[0].attributes["sofa.trace_id"]
			if spans[0].trace != strings.Repeat("0", 32-len(id))+id || spans[0].parent != "" || !bytes.Contains(request, []byte(id)) {
				t.Errorf("trace %q under %q, of SOFATracer's %q", spans[0].trace, spans[0].parent, id)
			}
			spans[0].want(t, "rpc.service=axle.interop.Ledger:1.0\nrpc.method=echo\nsofa.rpc_id=0\nsofa.caller_app=cashier")
		})
	}
}
