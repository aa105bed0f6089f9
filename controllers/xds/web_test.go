package xds

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

var rewrite = flag.Bool("update", false, "write the golden files")

// shop is the Service of the web sample.
func shop(rules ...*axlev1.TrafficRule) Scene {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "shop"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "web", Port: 80, AppProtocol: new("http")}}},
	}
	slice := paySlice(endpoint("10.0.0.1", "shop-0", true, false), endpoint("10.0.0.2", "shop-1", true, false))
	pods := map[string]Pod{"shop-0": {Labels: map[string]string{"version": "v1"}}, "shop-1": {Labels: map[string]string{"version": "v2"}}}
	return Scene{
		Provider: Provider{Service: svc, Slices: []*discoveryv1.EndpointSlice{slice}}, Rules: rules, Pod: func(name string) Pod { return pods[name] },
	}
}

// written is a message as YAML.
func written(t *testing.T, m proto.Message) string {
	t.Helper()
	raw, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var plain any // the library's own spaces differ from run to run
	if err := json.Unmarshal(raw, &plain); err != nil {
		t.Fatal(err)
	}
	out, err := yaml.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestTheWebSample shows what the sample becomes: one virtual host, and clusters that its upstream is in, those of subsets too.
func TestTheWebSample(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "config", "samples", "trafficrule_web.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	rule := &axlev1.TrafficRule{}
	if err := yaml.UnmarshalStrict(data, rule); err != nil {
		t.Fatal(err)
	}
	s := shop(rule)
	r := Generate(s)
	for _, report := range r.Reports {
		if !report.Accepted.OK || !report.Resolved.OK {
			t.Errorf("report %+v", report)
		}
	}
	s.Upstreams = r.Upstreams
	subsets := Subsets(s.Provider, s.Pod, r.Subsets)
	var parts []string
	for _, h := range r.Hosts {
		if err := h.ValidateAll(); err != nil {
			t.Errorf("host %s: %v", h.GetName(), err)
		}
		parts = append(parts, written(t, h))
	}
	for _, c := range append(r.Clusters, subsets.Clusters...) {
		if err := c.ValidateAll(); err != nil {
			t.Errorf("cluster %s: %v", c.GetName(), err)
		}
		parts = append(parts, written(t, c))
	}
	got := strings.Join(parts, "---\n")
	golden := filepath.Join("testdata", "web.golden")
	if *rewrite {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("run with -update if this is meant (-want +got):\n%s", diff)
	}
}

// TestWebPrecedence: paths before methods, then the number of headers, parameters and labels.
func TestWebPrecedence(t *testing.T) {
	rule := ruled(t, "order", time.Hour, `
parentRefs: [{name: shop}]
rules:
- {timeout: 1s}
- {matches: [{source: {labels: {app: a}}}], timeout: 2s}
- {matches: [{source: {labels: {app: a, tier: b}}}], timeout: 3s}
- {matches: [{queryParams: [{name: q, type: Present}]}], timeout: 4s}
- {matches: [{headers: [{name: h, type: Present}]}], timeout: 5s}
- {matches: [{method: {value: GET}}], timeout: 6s}
- {matches: [{method: {type: Suffix, value: T}}], timeout: 7s}
- {matches: [{path: {type: RegularExpression, value: '/.*x'}}], timeout: 8s}
- {matches: [{path: {value: /a}}], timeout: 9s}
- {matches: [{path: {value: /a/b/}}], timeout: 10s}
- {matches: [{path: {type: Exact, value: /}}], timeout: 11s}
- {matches: [{path: {value: /a}, method: {value: GET}}], timeout: 12s}
- {matches: [{method: {value: GET, invert: true}}], timeout: 13s}
`)
	var got []string
	for _, route := range Generate(shop(rule)).Hosts[0].GetRoutes() {
		got = append(got, route.GetRoute().GetTimeout().AsDuration().String())
	}
	want := []string{"11s", "10s", "12s", "9s", "8s", "6s", "7s", "13s", "5s", "4s", "3s", "2s", "1s", "0s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestMatchesThatSayTheSame are conflicts, and those that do not are none.
func TestMatchesThatSayTheSame(t *testing.T) {
	cases := map[string]struct {
		one, other string
		same       bool
	}{
		"a prefix with a slash at its end": {"path: {value: /a}", "path: {type: PathPrefix, value: /a/}", true},
		"an exact path":                    {"path: {value: /a}", "path: {type: Exact, value: /a}", false},
		"parameters in another order":      {"queryParams: [{name: a, value: x}, {name: b, value: y}]", "queryParams: [{name: b, value: y}, {name: a, type: Exact, value: x}]", true},
		"parameters in other letters":      {"queryParams: [{name: a, value: x}]", "queryParams: [{name: A, value: x}]", false},
		"the inverse":                      {"headers: [{name: a, type: Present}]", "headers: [{name: a, type: Present, invert: true}]", false},
		"another range":                    {"headers: [{name: a, type: Range, range: {from: 1, to: 2}}]", "headers: [{name: a, type: Range, range: {from: 1, to: 3}}]", false},
		"another way to compare":           {"headers: [{name: a, type: Suffix, value: x}]", "headers: [{name: a, type: Contains, value: x}]", false},
		"the same callers":                 {"source: {labels: {a: x, b: y}}", "source: {labels: {b: y, a: x}}", true},
		"other callers":                    {"source: {labels: {a: x}}", "source: {labels: {a: y}}", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			match := func(s string) string { return "parentRefs: [{name: shop}]\nrules: [{matches: [{" + s + "}]}]" }
			r := Generate(shop(ruled(t, "old", time.Hour, match(tc.one)), ruled(t, "young", time.Minute, match(tc.other))))
			if got := r.Reports[1].Accepted; got.OK == tc.same || tc.same && got.Reason != ReasonConflicted {
				t.Errorf("the younger: %+v", got)
			}
		})
	}
}

// TestWhatIsOnlyHTTPs stays away from other keys, and the rule is told where that is not plain from what it says.
func TestWhatIsOnlyHTTPs(t *testing.T) {
	cases := map[string]struct {
		spec     string
		rpc, web int // routes besides the default one
		accepted Reason
		resolved Reason
		says     string
	}{
		"a redirect":          {spec: "rules: [{redirect: {hostname: a.example}}]", web: 1, accepted: ReasonAccepted, resolved: ReasonResolvedRefs},
		"a path":              {spec: "rules: [{matches: [{path: {value: /a}}]}]", web: 1, accepted: ReasonAccepted, resolved: ReasonResolvedRefs},
		"a parameter":         {spec: "rules: [{matches: [{queryParams: [{name: a, type: Present}]}]}]", web: 1, accepted: ReasonAccepted, resolved: ReasonResolvedRefs},
		"headers":             {spec: "rules: [{requestHeaders: {set: [{name: a, value: b}]}}]", rpc: 1, web: 1, accepted: ReasonAccepted, resolved: ReasonProtocolMismatch, says: "requests for service key com.x.Pay:1.0 are Bolt and go on as they came"},
		"a rewrite":           {spec: "rules: [{rewrite: {hostname: a.example}}]", rpc: 1, web: 1, accepted: ReasonAccepted, resolved: ReasonProtocolMismatch, says: "rules[0]"},
		"an answer":           {spec: "rules: [{respond: {status: 403}}]", rpc: 1, web: 1, accepted: ReasonAccepted, resolved: ReasonResolvedRefs},
		"a limit":             {spec: "rules: [{limit: {requests: 5}}]", rpc: 1, web: 1, accepted: ReasonAccepted, resolved: ReasonResolvedRefs},
		"a redirect of RPC":   {spec: onlyRPC + "rules: [{redirect: {hostname: a.example}}]", accepted: ReasonNoMatchingParent, resolved: ReasonNoMatchingParent, says: "Redirects, paths and query parameters are only for those whose port speaks HTTP."},
		"an expression":       {spec: "rules: [{matches: [{path: {type: RegularExpression, value: '('}}]}]", accepted: ReasonInvalidMatch, resolved: ReasonInvalidMatch, says: "rules[0].matches[0].path.value is no RE2"},
		"one for a parameter": {spec: "rules: [{matches: [{queryParams: [{name: a, type: RegularExpression, value: '('}]}]}]", accepted: ReasonInvalidMatch, resolved: ReasonInvalidMatch, says: "rules[0].matches[0].queryParams[0].value is no RE2"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := Generate(mesh(ruled(t, "gray", time.Hour, tc.spec)))
			all := shown(t, r)
			if rpc, web := len(all[rpcKey])-1, len(all["pay.payments"])-1; rpc != tc.rpc || web != tc.web {
				t.Errorf("%d routes of RPC and %d of the web, want %d and %d", rpc, web, tc.rpc, tc.web)
			}
			got := r.Reports[0]
			if got.Accepted.Reason != tc.accepted || got.Resolved.Reason != tc.resolved || !strings.Contains(got.Resolved.Message, tc.says) {
				t.Errorf("accepted %+v, resolved %+v", got.Accepted, got.Resolved)
			}
			for _, h := range r.Hosts {
				if first := h.GetRoutes()[0]; h.GetName() == rpcKey && len(first.GetRequestHeadersToAdd())+len(first.GetRoute().GetHostRewriteLiteral()) > 0 {
					t.Errorf("a route of Bolt: %v", first)
				}
			}
		})
	}
}
