package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/xds"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/route"
	sidecarxds "github.com/axlemesh/axle/sidecar/xds"
)

// made is what the operator makes of the Service pay (HTTP on 80, Bolt on 12200; pods of version v1 and v2) with some rules.
func made(t *testing.T, rules string) (xds.Resources, xds.Resources) {
	t.Helper()
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "pay", Annotations: map[string]string{axlev1.ServicesAnnotation: "com.x.Pay:1.0"}},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
			{Name: "rpc", Port: 12200, AppProtocol: new("bolt")}, {Name: "web", Port: 80, AppProtocol: new("http")},
		}},
	}
	slice := &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("rpc"), Port: new(int32(12200))}, {Name: new("web"), Port: new(int32(8080))}},
	}
	for i := range 2 {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.0.0.%d", i+1)}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprintf("v%d", i+1)},
		})
	}
	scene := xds.Scene{
		Provider: xds.Provider{Service: svc, Slices: []*discoveryv1.EndpointSlice{slice}},
		Pod:      func(name string) xds.Pod { return xds.Pod{Labels: map[string]string{"version": name}} },
	}
	rule := &axlev1.TrafficRule{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "gray"}}
	if err := yaml.UnmarshalStrict([]byte("parentRefs: [{name: pay}]\nrules: "+rules), &rule.Spec); err != nil {
		t.Fatal(err)
	}
	scene.Rules = []*axlev1.TrafficRule{rule}
	r := xds.Generate(scene)
	for _, report := range r.Reports {
		if !report.Accepted.OK {
			t.Fatalf("the operator does not accept it: %+v", report.Accepted)
		}
	}
	scene.Upstreams = r.Upstreams
	return r, xds.Subsets(scene.Provider, scene.Pod, r.Subsets)
}

// taken is what a sidecar makes of that, as it comes over the wire.
func taken(t *testing.T, all ...xds.Resources) *config.Snapshot {
	t.Helper()
	return takenBy(t, nil, all...)
}

// takenBy is what the sidecar of a pod with some labels makes of it.
func takenBy(t *testing.T, labels map[string]string, all ...xds.Resources) *config.Snapshot {
	t.Helper()
	return takenWith(t, &axlev1.PodDesired{Generation: 1}, labels, xds.Settings{}, all...)
}

// takenWith is the same for a pod with ports and settings.
func takenWith(t *testing.T, desired *axlev1.PodDesired, labels map[string]string, set xds.Settings, all ...xds.Resources) *config.Snapshot {
	t.Helper()
	listeners, err := xds.Listeners(desired, nil, labels, set)
	if err != nil {
		t.Fatal(err)
	}
	store := sidecarxds.NewStore()
	update := func(typeURL, name string, m proto.Message) {
		t.Helper()
		raw, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Update(typeURL, []*discoveryv3.Resource{{Name: name, Resource: raw}}, nil); err != nil {
			t.Errorf("a sidecar rejects what the operator makes: %v", err)
		}
	}
	for _, l := range listeners {
		update(sidecarxds.TypeListener, l.GetName(), l)
	}
	for _, r := range all {
		for _, c := range r.Clusters {
			update(sidecarxds.TypeCluster, c.GetName(), c)
		}
		for _, a := range r.Assignments {
			update(sidecarxds.TypeEndpoint, a.GetClusterName(), a)
		}
		for _, h := range r.Hosts {
			update(sidecarxds.TypeHost, h.GetName(), h)
		}
	}
	snapshot, err := store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := snapshot.Validate(); err != nil {
		t.Errorf("the sidecar's snapshot: %v", err)
	}
	return snapshot
}

// asked is a request with a path and headers, each "name=value".
type asked []string

func (a asked) Path() ([]byte, bool) { return []byte("/"), true }

func (a asked) Header(name string) ([]byte, bool) {
	at := slices.IndexFunc(a, func(h string) bool { return strings.HasPrefix(h, name+"=") })
	if at < 0 {
		return nil, false
	}
	return []byte(a[at][len(name)+1:]), true
}

// TestRulesReachTheRequest holds the operator's side of a TrafficRule against the sidecar's: what the one makes the other takes,
// and does what the rule says.
func TestRulesReachTheRequest(t *testing.T) {
	const rpc, own = "com.x.Pay:1.0", "pay.payments"
	const pay = "outbound/payments/pay/"
	cases := map[string]struct {
		rules               string
		service, method     string
		headers             asked
		clusters            string // of the route that takes the request
		status              int
		mirror, firstServes string // the first endpoint of the first cluster
	}{
		"a method by prefix":             {rules: "[{matches: [{method: {type: Prefix, value: qu}}], backendRefs: [{name: pay, subset: {version: v2}}]}]", service: rpc, method: "query", clusters: pay + "12200/version=v2", firstServes: "10.0.0.2:12200"},
		"another method":                 {rules: "[{matches: [{method: {type: Prefix, value: qu}}], backendRefs: [{name: pay, subset: {version: v2}}]}]", service: rpc, method: "pay", clusters: pay + "12200", firstServes: "10.0.0.1:12200"},
		"a method that is an expression": {rules: "[{matches: [{method: {type: RegularExpression, value: 'GET|HEAD'}}], backendRefs: [{name: pay, subset: {version: v2}}]}]", service: own, method: "GET", clusters: pay + "80/version=v2", firstServes: "10.0.0.2:8080"},
		"which fits the whole of it":     {rules: "[{matches: [{method: {type: RegularExpression, value: 'GET|HEAD'}}], backendRefs: [{name: pay, subset: {version: v2}}]}]", service: own, method: "GETS", clusters: pay + "80", firstServes: "10.0.0.1:8080"},
		"a header of HTTP in any case":   {rules: "[{matches: [{headers: [{name: X-Uid, type: RegularExpression, value: '.*7'}]}], backendRefs: [{name: pay, subset: {version: v2}}]}]", service: own, headers: asked{"x-uid=17"}, clusters: pay + "80/version=v2", firstServes: "10.0.0.2:8080"},
		"a header of Bolt as it is":      {rules: "[{matches: [{headers: [{name: Uid, value: '7'}]}], backendRefs: [{name: pay, subset: {version: v2}}]}]", service: rpc, headers: asked{"Uid=7"}, clusters: pay + "12200/version=v2", firstServes: "10.0.0.2:12200"},
		"a path":                         {rules: "[{matches: [{headers: [{name: ':path', value: /}]}], backendRefs: [{name: pay, subset: {version: v2}}]}]", service: own, clusters: pay + "80/version=v2", firstServes: "10.0.0.2:8080"},
		"one in a thousand":              {rules: "[{backendRefs: [{name: pay, subset: {version: v2}, weight: 1}, {name: pay, subset: {version: v1}, weight: 999}]}]", service: rpc, clusters: pay + "12200/version=v2 " + pay + "12200/version=v1", firstServes: "10.0.0.2:12200"},
		"one without weight":             {rules: "[{backendRefs: [{name: pay, subset: {version: v2}, weight: 0}, {name: pay, weight: 1}]}]", service: rpc, clusters: pay + "12200/version=v2 " + pay + "12200", firstServes: "10.0.0.2:12200"},
		"an empty subset":                {rules: "[{backendRefs: [{name: pay, subset: {version: v9}}]}]", service: rpc, clusters: pay + "12200/version=v9"},
		"a Service that is not there":    {rules: "[{backendRefs: [{name: gone}]}]", service: rpc, status: 503},
		"beside one that is":             {rules: "[{backendRefs: [{name: gone}, {name: pay}]}]", service: rpc, clusters: "unresolved/payments/gone/0 " + pay + "12200"},
		"the most weight that there is":  {rules: "[{backendRefs: [" + strings.Repeat("{name: gone, weight: 1000000},", 15) + "{name: pay, weight: 1000000}]}]", service: rpc, clusters: "unresolved/payments/gone/0 " + pay + "12200"},
		"copies, a timeout":              {rules: "[{mirror: {backendRef: {name: pay, subset: {version: v1}}, fraction: {numerator: 1, denominator: 1000}}, timeout: 800ms}]", service: rpc, clusters: pay + "12200", mirror: pay + "12200/version=v1", firstServes: "10.0.0.1:12200"},
		"a few copies":                   {rules: "[{mirror: {backendRef: {name: pay}, fraction: {numerator: 1, denominator: 1000000}}}]", service: rpc, clusters: pay + "12200", mirror: pay + "12200", firstServes: "10.0.0.1:12200"},
		"the longest expression":         {rules: "[{matches: [{method: {type: RegularExpression, value: '[a-z]{490}'}}]}]", service: rpc, method: "a", clusters: pay + "12200", firstServes: "10.0.0.1:12200"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			hosts, subsets := made(t, tc.rules)
			snapshot := taken(t, subsets, hosts)
			got := route.Compile(snapshot.Hosts).Match([]byte(tc.service), []byte(tc.method), tc.headers)
			if got == nil {
				t.Fatal("no route takes the request")
			}
			if all := strings.Join(got.Clusters, " "); all != tc.clusters || got.Status != tc.status || got.Mirror != tc.mirror {
				t.Errorf("clusters %s, status %d, copies to %q", all, got.Status, got.Mirror)
			}
			if tc.firstServes == "" {
				return
			}
			if e := snapshot.Clusters[got.Clusters[0]].Endpoints; len(e) == 0 || e[0].String() != tc.firstServes {
				t.Errorf("endpoints %v, want %s first", e, tc.firstServes)
			}
		})
	}
}

// TestActionsReachTheRequest does the same for what a rule does besides sending requests on.
func TestActionsReachTheRequest(t *testing.T) {
	whole := func(n uint32) config.Fraction { return config.Fraction{Numerator: n, Denominator: 100} }
	cases := map[string]struct {
		rule     string
		attempts int
		retry    *config.Retry
		fault    *config.Fault
	}{
		"nothing": {rule: "{timeout: 1s}", attempts: config.DefaultAttempts},
		"a retry of what has reached nobody": {
			rule: "{retry: {attempts: 1, retryOn: [ConnectFailure]}}", attempts: 2,
		},
		"no retry": {rule: "{retry: {attempts: 0, retryOn: [ConnectFailure]}}", attempts: 1},
		"a retry by its defaults": {
			rule: "{retry: {retryOn: [Busy], budget: 20%}}", attempts: 2, retry: &config.Retry{Statuses: []int{429, 503}, BudgetPercent: 20},
		},
		"a retry of everything": {
			rule:     "{retry: {attempts: 9, retryOn: [ServerError], statuses: [409], methods: All, perTryTimeout: 1s, backoff: 10ms, budget: 5}}",
			attempts: 10, retry: &config.Retry{
				On: config.RetryServerError | config.RetryReset | config.RetryConnect, Statuses: []int{409}, AnyMethod: true, PerTry: time.Second,
				Backoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond, BudgetPercent: 5,
			},
		},
		"a hedge": {
			rule: "{retry: {retryOn: [Reset], perTryTimeout: 100ms, hedge: true, budget: 20%}}", attempts: 2,
			retry: &config.Retry{On: config.RetryReset, PerTry: 100 * time.Millisecond, Hedge: true, BudgetPercent: 20},
		},
		"faults": {
			rule: "{fault: {delay: {percent: 1%, duration: 100ms}, abort: {percent: 0%, status: 503}}}", attempts: config.DefaultAttempts,
			fault: &config.Fault{Delayed: whole(1), Delay: 100 * time.Millisecond, Aborted: whole(0), Status: 503},
		},
		"a few faults": {
			rule: "{fault: {abort: {percent: 0.0001%, status: 418}}}", attempts: config.DefaultAttempts,
			fault: &config.Fault{Delayed: whole(0), Aborted: config.Fraction{Numerator: 1, Denominator: 1_000_000}, Status: 418},
		},
		"a fault of everything": {
			rule: "{fault: {delay: {duration: 1s}}}", attempts: config.DefaultAttempts,
			fault: &config.Fault{Delayed: whole(100), Delay: time.Second, Aborted: whole(0)},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			hosts, _ := made(t, "["+tc.rule+"]")
			for _, key := range []string{"com.x.Pay:1.0", "pay.payments"} {
				got := route.Compile(taken(t, hosts).Hosts).Match([]byte(key), nil, asked{})
				if got.Attempts != tc.attempts {
					t.Errorf("%s: %d attempts, want %d", key, got.Attempts, tc.attempts)
				}
				if diff := cmp.Diff(tc.retry, got.Retry); diff != "" {
					t.Errorf("%s: retry (-want +got):\n%s", key, diff)
				}
				want := tc.fault
				if want != nil && want.Status == 0 {
					want.Aborted = got.Fault.Aborted // of nothing
				}
				if want != nil && want.Delay == 0 {
					want.Delayed = got.Fault.Delayed
				}
				if diff := cmp.Diff(want, got.Fault); diff != "" {
					t.Errorf("%s: fault (-want +got):\n%s", key, diff)
				}
			}
		})
	}
}
