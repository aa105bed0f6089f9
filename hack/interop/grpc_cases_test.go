//go:build interop

package interop

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/axlemesh/axle/hack/bench/certs"
	"github.com/axlemesh/axle/hack/testport"
)

// grpcName is in the certificate of the sidecars.
const grpcName = "books.demo"

// grpcQuick are the cases that take milliseconds; orca_oob takes seconds, and channel_soak comes at the end.
var grpcQuick = []string{
	"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream", "timeout_on_sleeping_server",
	"cancel_after_begin", "cancel_after_first_response", "status_code_and_message", "special_status_message", "custom_metadata",
	"unimplemented_method", "unimplemented_service", "orca_per_rpc", "rpc_soak",
}

// TestGRPCCases: the interop cases and the interop server of grpc-go, over plain connections, over TLS to the client's
// sidecar, and with certificates on both sides between the sidecars.
func TestGRPCCases(t *testing.T) {
	needs(t, "grpc")
	programs := t.TempDir()
	build := func(name, pkg string) string {
		path, err := machine().Go(t.Context(), programs, name, pkg)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	server, caller := build("server", "google.golang.org/grpc/interop/server"), build("client", "github.com/axlemesh/axle/hack/interop/grpc")
	secret := t.TempDir()
	if err := certs.Write(secret, grpcName, time.Now()); err != nil {
		t.Fatal(err)
	}
	files := certs.In(secret)
	own := fmt.Sprintf("certificate: %q, key: %q", files.Chain, files.Key)
	both := own + fmt.Sprintf(", trust: %q", files.CA)
	cases := map[string]struct {
		tls  blocks
		args []string
	}{
		"plain":                   {},
		"TLS to the client":       {tls: blocks{client: own}, args: []string{"-ca", files.CA, "-name", grpcName}},
		"certificates in between": {tls: blocks{between: both + ", serverName: " + grpcName, peer: both}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			port := testport.Free(t)
			launch(t, nil, server, fmt.Sprintf("-port=%d", port))
			listens(t, port)
			m := newMeshWith(t, "grpc", tc.tls, port)
			c := client{
				process: launch(t, nil, caller, append([]string{"-target", fmt.Sprintf("127.0.0.1:%d", m.client.port)}, tc.args...)...),
				kinds:   grpcQuick,
			}
			m.carries(c)
			all := parseReport(c.out.String(), "in all")
			if all["orca_oob"] < 2 || all["channel_soak"] != 1 {
				t.Errorf("%s has done too little: %v", c.name, all)
			}
		})
	}
}

// listens waits until somebody accepts connections there.
func listens(t *testing.T, port int) {
	t.Helper()
	eventually(t, fmt.Sprintf("somebody listens on port %d", port), func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}
