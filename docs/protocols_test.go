package docs_test

import (
	"encoding/json"
	"encoding/xml"
	"regexp"
	"strings"
	"testing"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/static"
)

// TestPeersAreDocumented holds the versions of protocols.md against what the interop tests install.
func TestPeersAreDocumented(t *testing.T) {
	var node struct{ Dependencies map[string]string }
	if err := json.Unmarshal([]byte(read(t, "../hack/interop/node/package.json")), &node); err != nil {
		t.Fatal(err)
	}
	peers := node.Dependencies
	for _, module := range []string{"sofarpc", "dubbo"} {
		var pom struct {
			Dependencies []struct {
				Artifact string `xml:"artifactId"`
				Version  string `xml:"version"`
			} `xml:"dependencies>dependency"`
		}
		if err := xml.Unmarshal([]byte(read(t, "../hack/interop/java/"+module+"/pom.xml")), &pom); err != nil {
			t.Fatal(err)
		}
		for _, d := range pom.Dependencies {
			peers[d.Artifact] = d.Version
		}
	}
	for name, m := range map[string][2]string{
		"grpc-go": {"../go.mod", "google.golang.org/grpc"}, "h2spec": {"../hack/tools/h2spec/go.mod", "github.com/summerwind/h2spec"},
	} {
		found := regexp.MustCompile(`(?m)^\s` + regexp.QuoteMeta(m[1]) + ` v([0-9.]+)`).FindStringSubmatch(read(t, m[0]))
		if found == nil {
			t.Fatalf("%s does not require %s", m[0], m[1])
		}
		peers[name] = found[1]
	}
	if len(peers) < 5 {
		t.Errorf("only %v", peers)
	}
	table := section(t, "protocols.md", "What it was tested with")
	for name, version := range peers {
		if !strings.Contains(table, "| "+name+" "+version+" ") {
			t.Errorf("protocols.md does not say that %s %s was tested", name, version)
		}
	}
}

// TestProtocolsAreDocumented: every protocol that a listener takes has its row.
func TestProtocolsAreDocumented(t *testing.T) {
	text := read(t, "protocols.md")
	for _, p := range []bootstrap.Protocol{bootstrap.TCP, bootstrap.Bolt, bootstrap.Dubbo, bootstrap.HTTP1, bootstrap.HTTP2, bootstrap.GRPC} {
		if !regexp.MustCompile("(?m)^\\| [^|]+ \\| `" + string(p) + "` \\|").MatchString(text) {
			t.Errorf("protocols.md has no row for %s", p)
		}
	}
}

// TestLimitsAreDocumented holds what peers meet against the code.
func TestLimitsAreDocumented(t *testing.T) {
	text := section(t, "protocols.md", "What a hostile peer meets")
	for said, where := range map[string][2]string{
		"256 KiB wait":             {"proxy/tcp.go", "highWater = 256 << 10"},
		"more than 1 MiB waits":    {"proxy/http2.go", "http2Queue = 1 << 20"},
		"64 KiB for each":          {"proxy/http2.go", "http2HighWater = 64 << 10"},
		"1 MiB has waited for 5 s": {"proxy/request.go", "clientPatience = 5 * time.Second"},
		"from 11 MiB":              {"proxy/request.go", "maxQueue       = bolt.MaxFrame + 3<<20"},
		"20,000 points":            {"codec/http2/budget.go", "maxBudget    = 20_000"},
		"5,000 each second":        {"codec/http2/budget.go", "refill       = 5_000"},
		"A reset costs 20":         {"codec/http2/budget.go", "costReset    = 20"},
		"SETTINGS 50":              {"codec/http2/budget.go", "costSettings = 50"},
		"a PING 10":                {"codec/http2/budget.go", "costPing     = 10"},
		"an empty frame 5":         {"codec/http2/budget.go", "costEmpty    = 5"},
		"at most 128, others":      {"codec/http2/settings.go", "maxStreams = 128"},
		"256 fields":               {"codec/http1/error.go", "defaultFields = 256"},
		"a first line of 16 KiB":   {"codec/http1/error.go", "defaultLine   = 16 << 10"},
		"HTTP/2: 64 KiB":           {"codec/http2/fields.go", "maxList = 64 << 10"},
		"a loop 3.5 MiB":           {"proxy/http2_heads.go", "http2Heads  = http2Batch / 2"},
		"has 896 KiB":              {"proxy/http2_heads.go", "clientHeads = http2Heads / 4"},
		"after 500 ms":             {"proxy/shake_yield.go", "shakeYield = 500 * time.Millisecond"},
		"128 go on at once":        {"proxy/shake.go", "maxShakes = 128"},
		"closed after 5 s":         {"proxy/shake.go", "shakePatience = 5 * time.Second"},
		"32 in a row":              {"codec/tls/session.go", "maxIdle = 32"},
		"closed after 2 s":         {"proxy/opening.go", "headerPatience = 2 * time.Second"},
		"read 128 KiB at a time":   {"loop/loop.go", "readBuffer = 128 << 10"},
		"ten lines":                {"proxy/complain.go", "complaintsAtOnce = 10"},
		"in 5 s, of which":         {"proxy/complain.go", "complaintsRest   = 5 * time.Second"},
	} {
		if !strings.Contains(text, said) {
			t.Errorf("protocols.md does not say %q", said)
		}
		if !strings.Contains(read(t, "../sidecar/"+where[0]), where[1]) {
			t.Errorf("sidecar/%s does not have %q any more: see %q in protocols.md", where[0], where[1], said)
		}
	}
}

// TestTheRoutesOfTripleAreTaken has the sidecar read the sample.
func TestTheRoutesOfTripleAreTaken(t *testing.T) {
	sample := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(section(t, "protocols.md", "Dubbo 3: Triple"))
	if sample == nil {
		t.Fatal("there is no sample")
	}
	b, err := static.Parse("protocols.md", []byte(`static:
  listeners:
  - {name: out, address: "127.0.0.1:50051", protocol: http2}
  clusters:
  - {name: pay, endpoints: ["127.0.0.1:50052"]}
`+sample[1]))
	if err != nil {
		t.Fatal(err)
	}
	got, err := static.Snapshot(b.Static)
	if err != nil {
		t.Fatal(err)
	}
	if h := got.Hosts["*"]; h == nil || len(h.Routes) != 1 || len(h.Routes[0].Matches) != 1 {
		t.Errorf("routes %+v", got.Hosts)
	}
}
