package xds

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// ruled reads the rules of one TrafficRule; its parent is the Service pay, unless it says otherwise.
func ruled(t *testing.T, name string, age time.Duration, spec string) *axlev1.TrafficRule {
	t.Helper()
	r := &axlev1.TrafficRule{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: name, Generation: 7, CreationTimestamp: metav1.NewTime(t0.Add(-age))}}
	if err := yaml.UnmarshalStrict([]byte(spec), &r.Spec); err != nil {
		t.Fatal(err)
	}
	if r.Spec.ParentRefs == nil {
		r.Spec.ParentRefs = []axlev1.ParentRef{{Name: "pay"}}
	}
	return r
}

// mesh is the Service pay (web over HTTP on 80, RPC on 12200) with pods of version v1 and v2, beside the Service shadow.
func mesh(rules ...*axlev1.TrafficRule) Scene {
	svc := payService()
	svc.Annotations[axlev1.ServicesAnnotation] = "com.x.Pay:1.0"
	svc.Spec.Ports = []corev1.ServicePort{
		{Name: "rpc", Port: 12200, AppProtocol: new("bolt")}, {Name: "web", Port: 80, AppProtocol: new("http")}, {Name: "raw", Port: 9000},
	}
	slice := paySlice(endpoint("10.0.0.1", "pay-0", true, false), endpoint("10.0.0.2", "pay-1", true, false), endpoint("10.0.0.3", "pay-2", false, false))
	shadow := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "shadow"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 7000, AppProtocol: new("bolt")}}},
	}
	pods := map[string]Pod{
		"pay-0": {Labels: map[string]string{"version": "v1"}, Way: map[int32]int32{12200: 15200}},
		"pay-1": {Labels: map[string]string{"version": "v2"}},
		"pay-2": {Labels: map[string]string{"version": "v3"}},
	}
	return Scene{
		Provider: Provider{Service: svc, Slices: []*discoveryv1.EndpointSlice{slice}}, Rules: rules,
		Pod: func(name string) Pod { return pods[name] }, Others: map[string]Provider{"shadow": {Service: shadow}, "gone": {}},
	}
}

// shown are the routes of each service key, one line each.
func shown(t *testing.T, r Resources) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, h := range r.Hosts {
		if err := h.ValidateAll(); err != nil {
			t.Errorf("host %s: %v", h.GetName(), err)
		}
		for _, route := range h.GetRoutes() {
			all[h.GetName()] = append(all[h.GetName()], show(route))
		}
	}
	return all
}

func show(r *routev3.Route) string {
	var parts []string
	for _, h := range r.GetMatch().GetHeaders() {
		s := h.GetStringMatch()
		value := "=" + s.GetExact()
		if p := s.GetPrefix(); p != "" {
			value = "^" + p
		}
		if re := s.GetSafeRegex().GetRegex(); re != "" {
			value = "~" + re
		}
		parts = append(parts, h.GetName()+value)
	}
	short := func(cluster string) string { return strings.TrimPrefix(cluster, "outbound/payments/") }
	parts = append(parts, "->")
	if d := r.GetDirectResponse(); d != nil {
		parts = append(parts, fmt.Sprint(d.GetStatus()))
	}
	if c := r.GetRoute().GetCluster(); c != "" {
		parts = append(parts, short(c))
	}
	for _, w := range r.GetRoute().GetWeightedClusters().GetClusters() {
		parts = append(parts, fmt.Sprintf("%s*%d", short(w.GetName()), w.GetWeight().GetValue()))
	}
	if d := r.GetRoute().GetTimeout(); d != nil {
		parts = append(parts, d.AsDuration().String())
	}
	for _, m := range r.GetRoute().GetRequestMirrorPolicies() {
		f := m.GetRuntimeFraction().GetDefaultValue()
		parts = append(parts, fmt.Sprintf("copies %d/%s to %s", f.GetNumerator(), f.GetDenominator(), short(m.GetCluster())))
	}
	return strings.Join(parts, " ")
}

const (
	onlyRPC = "parentRefs: [{name: pay, port: 12200}]\n"
	rpcKey  = "com.x.Pay:1.0"
)

func TestRoutes(t *testing.T) {
	cases := map[string]struct {
		spec      string
		rpc, web  []string // routes before the default one; web is the Service's own key
		resolved  Reason
		says      string
		subsets   int
		unrouted  bool // accepted False
		accepting Reason
	}{
		"everything, for both keys": {
			spec: "rules: [{timeout: 800ms}]", rpc: []string{"-> pay/12200 800ms"}, web: []string{"-> pay/80 800ms"},
		},
		"one port only": {spec: onlyRPC + "rules: [{timeout: 1s}]", rpc: []string{"-> pay/12200 1s"}},
		"one service key only": {
			spec: "rules: [{matches: [{service: {value: 'com.x.Pay:1.0'}, method: {type: Prefix, value: query}}], timeout: 1s}]", rpc: []string{":method^query -> pay/12200 1s"},
		},
		"header names: HTTP's in lower case, Bolt's as they are": {
			spec: "rules: [{matches: [{headers: [{name: X-Uid, type: RegularExpression, value: '.*7'}, {name: App, value: a}]}], timeout: 1s}]",
			rpc:  []string{"App=a X-Uid~.*7 -> pay/12200 1s"}, web: []string{"app=a x-uid~.*7 -> pay/80 1s"},
		},
		"subsets by weight": {
			spec: onlyRPC + "rules: [{backendRefs: [{name: pay, subset: {version: v2}}, {name: pay, subset: {version: v1}, weight: 999}]}]",
			rpc:  []string{"-> pay/12200/version=v2*1 pay/12200/version=v1*999"}, subsets: 2,
		},
		"an empty subset fails": {
			spec: onlyRPC + "rules: [{backendRefs: [{name: pay, subset: {version: v3}, weight: 1}, {name: pay, weight: 9}]}]",
			rpc:  []string{"-> pay/12200/version=v3*1 pay/12200*9"}, subsets: 1, resolved: ReasonSubsetEmpty,
			says: "No ready pod of Service pay, port 12200, has the labels version=v3. Its part fails (fallback: Fail).",
		},
		"or goes to all": {
			spec: onlyRPC + "rules: [{fallback: DefaultBackend, backendRefs: [{name: pay, subset: {version: v3}, weight: 1}, {name: pay, weight: 9}]}]",
			rpc:  []string{"-> pay/12200"}, subsets: 1, resolved: ReasonSubsetEmpty, says: "goes to all pods of that Service (fallback: DefaultBackend)",
		},
		"another Service, on its port of the same protocol": {spec: onlyRPC + "rules: [{backendRefs: [{name: shadow}]}]", rpc: []string{"-> shadow/7000"}},
		"a Service that does not exist": {
			spec: onlyRPC + "rules: [{backendRefs: [{name: gone}]}]", rpc: []string{"-> 503"}, resolved: ReasonBackendNotFound, says: "There is no Service gone. Its part fails.",
		},
		"beside one that does": {
			spec: onlyRPC + "rules: [{backendRefs: [{name: gone}, {name: pay}]}]", rpc: []string{"-> unresolved/payments/gone/0*1 pay/12200*1"}, resolved: ReasonBackendNotFound,
		},
		"or the parent in its place": {
			spec: onlyRPC + "rules: [{fallback: DefaultBackend, backendRefs: [{name: gone}]}]", rpc: []string{"-> pay/12200"}, resolved: ReasonBackendNotFound, says: "goes to Service pay (fallback: DefaultBackend)",
		},
		"a port that does not exist": {
			spec: onlyRPC + "rules: [{backendRefs: [{name: shadow, port: 1}]}]", rpc: []string{"-> 503"}, resolved: ReasonPortNotFound, says: "Service shadow has no TCP port 1.",
		},
		"a port of another protocol": {
			spec: "rules: [{backendRefs: [{name: pay, port: 12200}]}]", rpc: []string{"-> pay/12200"}, web: []string{"-> 503"}, resolved: ReasonProtocolMismatch, says: "requests for service key pay.payments are HTTP",
		},
		"copies": {
			spec: onlyRPC + "rules: [{mirror: {backendRef: {name: shadow}, fraction: {numerator: 1, denominator: 1000}}}]", rpc: []string{"-> pay/12200 copies 10/TEN_THOUSAND to shadow/7000"},
		},
		"a few copies":   {spec: onlyRPC + "rules: [{mirror: {backendRef: {name: shadow}, fraction: {numerator: 1, denominator: 1000000}}}]", rpc: []string{"-> pay/12200 copies 1/MILLION to shadow/7000"}},
		"copies of all":  {spec: onlyRPC + "rules: [{mirror: {backendRef: {name: shadow}}}]", rpc: []string{"-> pay/12200 copies 100/HUNDRED to shadow/7000"}},
		"copies of none": {spec: onlyRPC + "rules: [{mirror: {backendRef: {name: shadow}, percent: 0}}]", rpc: []string{"-> pay/12200"}},
		"copies to nobody": {
			spec: onlyRPC + "rules: [{mirror: {backendRef: {name: gone}}}]", rpc: []string{"-> pay/12200"}, resolved: ReasonBackendNotFound,
		},
		"a service key that nobody has": {
			spec: "rules: [{matches: [{service: {value: com.x.Refund}}, {service: {value: 'com.x.Pay:1.0'}}], timeout: 1s}]", rpc: []string{"-> pay/12200 1s"},
			resolved: ReasonServiceUnknown, says: "No parent has the service key com.x.Refund",
		},
		"only service keys that nobody has": {
			spec: "rules: [{matches: [{service: {value: com.x.Refund}}], timeout: 1s}]", unrouted: true, accepting: ReasonNoMatchingParent, says: "it has com.x.Pay:1.0, pay.payments",
		},
		"a port that the Service does not have": {spec: "parentRefs: [{name: pay, port: 1}]\nrules: [{}]", unrouted: true, accepting: ReasonNoMatchingParent, says: "Service pay has no TCP port 1."},
		"a port that no key goes to":            {spec: "parentRefs: [{name: pay, port: 9000}]\nrules: [{}]", unrouted: true, accepting: ReasonNoMatchingParent, says: "No service key of Service pay goes to its port 9000"},
		"an expression that is none": {
			spec: "rules: [{matches: [{headers: [{name: uid, type: RegularExpression, value: '('}]}]}]", unrouted: true, accepting: ReasonInvalidMatch,
			says: "rules[0].matches[0].headers[0].value is no RE2 regular expression: error parsing regexp: missing closing ): `(`.",
		},
		"an expression that is too long when its repetitions are written out": {
			spec: "rules: [{matches: [{method: {type: RegularExpression, value: '[a-z]{600}'}}]}]", unrouted: true, accepting: ReasonInvalidMatch, says: "at most 500",
		},
		"one that RE2 does not have": {
			spec: "rules: [{matches: [{method: {type: RegularExpression, value: '(?=a)'}}]}]", unrouted: true, accepting: ReasonInvalidMatch, says: "rules[0].matches[0].method.value",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := Generate(mesh(ruled(t, "gray", time.Hour, tc.spec)))
			want := map[string][]string{rpcKey: append(tc.rpc, "-> pay/12200"), "pay.payments": append(tc.web, "-> pay/80")}
			if diff := cmp.Diff(want, shown(t, r)); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
			if len(r.Reports) != 1 || len(r.Subsets) != tc.subsets {
				t.Fatalf("reports %+v, subsets %+v", r.Reports, r.Subsets)
			}
			got, f := r.Reports[0], r.Reports[0].Resolved
			if got.Accepted.OK == tc.unrouted || got.Generation != 7 || (len(got.Keys) == 0) != tc.unrouted {
				t.Errorf("report %+v", got)
			}
			if tc.unrouted && got.Accepted.Reason != tc.accepting || !tc.unrouted && got.Accepted.Reason != ReasonAccepted {
				t.Errorf("accepted %+v", got.Accepted)
			}
			if wantReason := tc.resolved; !tc.unrouted && (wantReason == "" && !f.OK || wantReason != "" && (f.OK || f.Reason != wantReason)) {
				t.Errorf("resolved %+v, want %q", f, wantReason)
			}
			if !strings.Contains(f.Message, tc.says) {
				t.Errorf("message %q, want %q", f.Message, tc.says)
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	old := ruled(t, "b-old", time.Hour, onlyRPC+`
rules:
- {matches: [{method: {type: RegularExpression, value: 'q.*'}}], timeout: 1s}
- {timeout: 2s}
- {matches: [{method: {value: query}}], timeout: 3s}
- {matches: [{headers: [{name: a, value: x}]}], timeout: 4s}
- {matches: [{headers: [{name: b, value: x}]}], timeout: 5s}
`)
	young := ruled(t, "a-young", time.Minute, onlyRPC+`
rules:
- {matches: [{method: {type: Prefix, value: q}}, {method: {type: Prefix, value: que}}], timeout: 6s}
- {matches: [{service: {value: 'com.x.Pay:1.0'}}], timeout: 7s}
- {matches: [{method: {value: query}, headers: [{name: a, value: x}]}], timeout: 8s}
- {matches: [{headers: [{name: a, value: x}, {name: b, value: x}]}], timeout: 9s}
- {matches: [{headers: [{name: c, value: x}]}], timeout: 10s}
`)
	want := []string{
		"-> pay/12200 7s",
		":method=query a=x -> pay/12200 8s",
		":method=query -> pay/12200 3s",
		":method^que -> pay/12200 6s",
		":method^q -> pay/12200 6s",
		":method~q.* -> pay/12200 1s",
		"a=x b=x -> pay/12200 9s",
		"a=x -> pay/12200 4s",
		"b=x -> pay/12200 5s",
		"c=x -> pay/12200 10s",
		"-> pay/12200 2s",
		"-> pay/12200",
	}
	for _, rules := range [][]*axlev1.TrafficRule{{old, young}, {young, old}} {
		if diff := cmp.Diff(want, shown(t, Generate(mesh(rules...)))[rpcKey]); diff != "" {
			t.Errorf("routes (-want +got):\n%s", diff)
		}
	}
}

func TestConflicts(t *testing.T) {
	const same = "rules: [{matches: [{method: {value: a}, headers: [{name: x, value: '1'}, {name: y, value: '2'}]}], timeout: %s}]"
	first := ruled(t, "z", time.Hour, fmt.Sprintf(same, "1s"))
	cases := map[string]struct {
		second *axlev1.TrafficRule
		want   Reason
		says   string
	}{
		"the same match": {ruled(t, "a", time.Minute, fmt.Sprintf(same, "2s")), ReasonConflicted, "TrafficRule z is older and has the same match for service key com.x.Pay:1.0"},
		"its headers in another order": {
			ruled(t, "a", time.Minute, "rules: [{matches: [{method: {value: a}, headers: [{name: y, value: '2'}, {name: x, value: '1'}]}]}]"), ReasonConflicted, "",
		},
		"one of several": {
			ruled(t, "a", time.Minute, "rules: [{timeout: 9s}, {matches: [{method: {value: a}, headers: [{name: y, value: '2'}, {name: x, value: '1'}]}]}]"), ReasonConflicted, "",
		},
		"in other letters, which HTTP does not tell apart": {
			ruled(t, "a", time.Minute, "rules: [{matches: [{method: {value: a}, headers: [{name: X, value: '1'}, {name: Y, value: '2'}]}]}]"), ReasonConflicted, "service key pay.payments",
		},
		"one that names its service": {
			ruled(t, "a", time.Minute, "rules: [{matches: [{service: {value: 'com.x.Pay:1.0'}, method: {value: a}, headers: [{name: x, value: '1'}, {name: y, value: '2'}]}]}]"), ReasonAccepted, "",
		},
		"of the same age, by name": {ruled(t, "zz", time.Hour, fmt.Sprintf(same, "2s")), ReasonConflicted, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := Generate(mesh(tc.second, first))
			at := slices.IndexFunc(r.Reports, func(r Report) bool { return r.Rule.Name == tc.second.Name })
			got := r.Reports[at]
			if got.Accepted.Reason != tc.want || !strings.Contains(got.Accepted.Message, tc.says) {
				t.Errorf("accepted %+v, want %s %q", got.Accepted, tc.want, tc.says)
			}
			if other := r.Reports[1-at]; !other.Accepted.OK {
				t.Errorf("the older: %+v", other.Accepted)
			}
			if n := len(shown(t, r)[rpcKey]); tc.want == ReasonConflicted && (n != 2 || len(got.Keys) != 0) {
				t.Errorf("%d routes, keys %v: the loser has none", n, got.Keys)
			}
		})
	}
}

func TestARuleWithTwoPortsOfOneService(t *testing.T) {
	r := Generate(mesh(ruled(t, "gray", time.Hour, "parentRefs: [{name: pay}, {name: pay, port: 80}, {name: pay, port: 9000}]\nrules: [{timeout: 1s}]")))
	want := map[string][]string{rpcKey: {"-> pay/12200 1s", "-> pay/12200"}, "pay.payments": {"-> pay/80 1s", "-> pay/80"}}
	if diff := cmp.Diff(want, shown(t, r)); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	var keys [][]string
	for _, report := range r.Reports {
		keys = append(keys, report.Keys)
	}
	if diff := cmp.Diff([][]string{{rpcKey, "pay.payments"}, {"pay.payments"}, nil}, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestTooManyRoutes(t *testing.T) {
	var rules []*axlev1.TrafficRule
	for i := range 9 {
		var b strings.Builder
		b.WriteString(onlyRPC + "rules:\n")
		for j := range 16 {
			b.WriteString("- matches:\n")
			for k := range 8 {
				fmt.Fprintf(&b, "  - method: {value: m-%d-%d-%d}\n", i, j, k)
			}
		}
		rules = append(rules, ruled(t, fmt.Sprintf("r%d", i), time.Hour, b.String()))
	}
	r := Generate(mesh(rules...))
	if n := len(shown(t, r)[rpcKey]); n != 7*128+1 {
		t.Errorf("%d routes", n)
	}
	if got := r.Reports[7].Accepted; got.Reason != ReasonTooManyRoutes || !strings.Contains(got.Message, "more than 999 routes") {
		t.Errorf("the eighth: %+v", got)
	}
}

func TestSubsets(t *testing.T) {
	s := mesh()
	r := Subsets(s.Provider, s.Pod, []Subset{
		{"pay", 12200, "version=v1"}, {"pay", 12200, "version=v2"}, {"pay", 12200, "version=v3"}, {"pay", 12200, "app=,version=v1"},
		{"pay", 1, "version=v1"}, {"other", 12200, "version=v1"},
	})
	got := map[string][]string{}
	for i, c := range r.Clusters {
		got[c.GetName()] = addresses(r.Assignments[i])
	}
	want := map[string][]string{
		"outbound/payments/pay/12200/version=v1":      {"10.0.0.1:15200"},
		"outbound/payments/pay/12200/version=v2":      {"10.0.0.2:12200"},
		"outbound/payments/pay/12200/version=v3":      nil,
		"outbound/payments/pay/12200/app=,version=v1": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	if l := labelsOf(map[string]axlev1.SubsetValue{"b": "2", "a": "1"}); l != "a=1,b=2" || !l.Select(map[string]string{"a": "1", "b": "2", "c": "3"}) {
		t.Errorf("labels %q", l)
	}
}
