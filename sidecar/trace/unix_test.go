package trace

import (
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/address"
)

// TestASpanToAUnixSocket comes back, and names the socket as files do.
func TestASpanToAUnixSocket(t *testing.T) {
	for _, name := range []string{"/run/app.sock", "@app"} {
		to, err := address.Unix(name)
		if err != nil {
			t.Fatal(err)
		}
		r := NewExporter(Options{Now: func() time.Time { return noon }}).NewRecorder(0)
		s := &Span{Kind: Client, System: HTTP1, Peer: to, Status: 200}
		back, rest, err := r.Restore(s.AppendBinary(nil, time.Second), time.Second)
		if err != nil || len(rest) > 0 || back.Peer != to {
			t.Fatalf("%s: %v, %d bytes left", name, err, len(rest))
		}
		got := attributes(exported(t, time.Second, back).ScopeSpans[0].Spans[0])
		if want := "network.peer.address=" + name; !strings.Contains(got, want+"\n") || strings.Contains(got, "network.peer.port") {
			t.Errorf("%s: %s", want, got)
		}
	}
}
