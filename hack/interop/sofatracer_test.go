//go:build interop

package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/hack/testport"
)

// TestSOFATracer: the stock tracer of SOFARPC on both sides, in both forms of its context. It says in logs of its own what it has made of
// each call. A client's trace goes on in the server, which calls again; both sidecars make a span of each call, in the client's trace and
// beside SOFATracer's spans, which the server shares with the client.
func TestSOFATracer(t *testing.T) {
	cases := map[string]struct {
		url, sampled string
	}{
		"the older form": {"", "100"},
		"the newer form": {"?rpcVer=51302", "100"},
		"not sampled":    {"?rpcVer=51302", "0"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := collect(t)
			port, homes := testport.Free(t), map[string]string{"client": t.TempDir(), "server": t.TempDir()}
			m := newMeshWith(t, "bolt", blocks{tracing: fmt.Sprintf("endpoint: %q, samplePercent: 0", c.url)}, port, ledgerRoutes...)
			options := func(side string) []string {
				return []string{
					"-Duser.home=" + homes[side], "-Dinterop.pause=50", "-Dtracer_sampler_strategy_name_key=PercentageBasedSampler",
					"-Dtracer_sampler_strategy_percentage_key=" + tc.sampled,
				}
			}
			onward := fmt.Sprintf("bolt://127.0.0.1:%d%s", m.client.port, tc.url)
			javaWith(t, sofarpcJars, options("server"), "LedgerServer", strconv.Itoa(port), onward).says("serving")
			m.carries(client{
				process: javaWith(t, sofarpcJars, options("client"), "LedgerClient", strconv.Itoa(m.client.port), tc.url),
				kinds:   []string{"sync", "post", "oneway", "future", "callback", "error", "generic"},
			})
			if tc.sampled == "0" {
				if all := c.by(span.call); len(all) > 0 {
					t.Errorf("there are spans: %v", all)
				}
				return
			}
			agree(t, c, homes)
		})
	}
}

// TestSOFATracerOverHTTP: what the stock tracer gives a request are its own ids by the names of B3.
func TestSOFATracerOverHTTP(t *testing.T) {
	c := collect(t)
	m := newMeshWith(t, "http1", blocks{tracing: fmt.Sprintf("endpoint: %q, samplePercent: 0", c.url)}, nodeServer(t, "web-server.js"),
		`service: "127.0.0.1", cluster: peer`)
	caller := client{
		process: javaWith(t, sofarpcJars, []string{"-Dinterop.pause=50"}, "WebClient", strconv.Itoa(m.client.port)), kinds: []string{"root"},
	}
	m.carries(caller)
	both := map[string]int{}
	for line := range strings.Lines(caller.out.String()) {
		if call, ok := strings.CutPrefix(line, "span "); ok {
			trace, id, _ := strings.Cut(strings.TrimSpace(call), " ")
			of := strings.Repeat("0", 32-len(trace)) + trace + " " + trace + " " + id
			both["SPAN_KIND_CLIENT "+of]++
			both["SPAN_KIND_SERVER "+of]++
		}
	}
	differ := ""
	defer func() {
		if t.Failed() {
			t.Log(differ[:min(len(differ), 6000)])
		}
	}()
	eventually(t, "both sidecars have a span beside each of the client's", func() bool {
		differ = cmp.Diff(both, c.by(func(s span) string {
			return strings.Join([]string{s.kind.String(), s.trace, s.attributes["sofa.trace_id"], s.attributes["sofa.rpc_id"]}, " ")
		}))
		return differ == "" && len(both) > 100
	})
}

// call names the sidecar that has made a span, and the call by SOFATracer's words.
func (s span) call() string {
	return strings.Join([]string{
		s.kind.String(), s.attributes["sofa.trace_id"], s.attributes["sofa.rpc_id"], s.attributes["rpc.service"], s.attributes["rpc.method"],
	}, " ")
}

// known says whether everybody has the same to say of a call. Services that nobody serves only some know, and a server does not log
// calls that took longer than their client waits.
func known(call string) bool {
	return !strings.Contains(call, " com.axlemesh.") && !strings.HasSuffix(call, " slow")
}

// agree holds what the sidecars say of calls against what clients and servers say. What a server has served, each sidecar has a span of; and
// every call that a client knows of was served, under the same ids. Some of its last ones a client that ends does not log.
func agree(t *testing.T, c *spans, homes map[string]string) {
	t.Helper()
	digest := func(home, side string) map[string]int {
		return digested(t, filepath.Join(homes[home], "logs/tracelog", "rpc-"+side+"-digest.log"), side)
	}
	differ := ""
	defer func() {
		if t.Failed() {
			t.Log(differ[:min(len(differ), 6000)])
		}
	}()
	eventually(t, "clients, servers and sidecars say the same of all calls", func() bool {
		served, called := digest("server", "server"), digest("server", "client")
		nested := len(called)
		maps.Copy(called, digest("client", "client"))
		both := map[string]int{}
		for call, n := range served {
			both["SPAN_KIND_CLIENT "+call], both["SPAN_KIND_SERVER "+call] = n, n
		}
		differ = cmp.Diff(both, c.by(func(s span) string {
			if !known(s.call()) {
				return ""
			}
			if s.trace != strings.Repeat("0", 32-len(s.attributes["sofa.trace_id"]))+s.attributes["sofa.trace_id"] || s.parent != "" {
				return "another trace: " + s.call()
			}
			return s.call()
		}))
		for call := range called {
			if served[call] != 1 {
				differ += "called and not served: " + call + "\n"
			}
		}
		return differ == "" && nested > 20 && len(called) > 10*nested/9
	})
}

// digested counts the calls in one of SOFATracer's logs, which has a line in JSON for each.
func digested(t *testing.T, path, side string) map[string]int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		return nil // not yet
	}
	defer func() { _ = f.Close() }()
	all := map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var one struct {
			TracerID, SpanID, Service, Method string
			Kind                              string `json:"span.kind"`
		}
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			continue // it is being written
		}
		if one.Kind != side {
			t.Errorf("%s has a span of kind %s", path, one.Kind)
		}
		if call := strings.Join([]string{one.TracerID, one.SpanID, one.Service, one.Method}, " "); known(call) {
			all[call]++
		}
	}
	return all
}
