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
