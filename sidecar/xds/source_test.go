package xds

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"
)

// of is a listener that takes the calls of a pod with those labels.
func of(l *listenerv3.Listener, pod labels) *listenerv3.Listener {
	fields := map[string]*structpb.Value{}
	for name, value := range pod {
		fields[name] = structpb.NewStringValue(value)
	}
	l.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"axlemesh.io": {
		Fields: map[string]*structpb.Value{"labels": structpb.NewStructValue(&structpb.Struct{Fields: fields})},
	}}}
	return l
}

func label(name, value string) *matcherv3.MetadataMatcher {
	m := &matcherv3.MetadataMatcher{Filter: "axlemesh.io", Value: &matcherv3.ValueMatcher{
		MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: exactly(value)},
	}}
	for _, key := range []string{"labels", name} {
		m.Path = append(m.Path, &matcherv3.MetadataMatcher_PathSegment{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key}})
	}
	return m
}

// sourced puts a route before those of a host that is only for callers with some labels.
func sourced(h *routev3.VirtualHost, cluster string, need ...*matcherv3.MetadataMatcher) *routev3.VirtualHost {
	first := virtualHost(cluster, "x").Routes[0]
	first.Match.DynamicMetadata = need
	h.Routes = append([]*routev3.Route{first}, h.Routes...)
	return h
}

// TestRoutesAreForCallers: all sidecars get all routes, and each keeps those that are for its pod.
func TestRoutesAreForCallers(t *testing.T) {
	cashier, both := label("app", "cashier"), []*matcherv3.MetadataMatcher{label("app", "cashier"), label("tier", "gold")}
	cases := map[string]struct {
		pod  labels // nil: no listener says anything
		need []*matcherv3.MetadataMatcher
		want string // cluster of the first route
	}{
		"everybody's":           {pod: labels{"app": "cashier"}, want: "gray"},
		"the caller has it":     {pod: labels{"app": "cashier", "other": "x"}, need: []*matcherv3.MetadataMatcher{cashier}, want: "gray"},
		"another value":         {pod: labels{"app": "till"}, need: []*matcherv3.MetadataMatcher{cashier}, want: "all"},
		"not that label":        {pod: labels{"tier": "gold"}, need: []*matcherv3.MetadataMatcher{cashier}, want: "all"},
		"both":                  {pod: labels{"app": "cashier", "tier": "gold"}, need: both, want: "gray"},
		"one of two":            {pod: labels{"app": "cashier"}, need: both, want: "all"},
		"an empty value":        {pod: labels{"app": ""}, need: []*matcherv3.MetadataMatcher{label("app", "")}, want: "gray"},
		"which is not none":     {pod: labels{"tier": "gold"}, need: []*matcherv3.MetadataMatcher{label("app", "")}, want: "all"},
		"nobody knows the pod":  {need: []*matcherv3.MetadataMatcher{cashier}, want: "all"},
		"or that it has labels": {pod: labels{}, need: []*matcherv3.MetadataMatcher{cashier}, want: "all"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := NewStore()
			l := outbound()
			if tc.pod != nil {
				l = of(l, tc.pod)
			}
			fill(t, s, "1", inbound(), l, sourced(virtualHost("all", "pay.shop"), "gray", tc.need...), sourced(virtualHost("all", "b.shop"), "gray"))
			snap := snapshot(t, s)
			if got := snap.Hosts["pay.shop"].Routes[0].Cluster; got != tc.want {
				t.Errorf("first route to %s, want %s", got, tc.want)
			}
			b, err := s.Export()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(snap.Hosts, readSnapshot(t, b.All).Hosts, equal); diff != "" {
				t.Errorf("a successor has others (-here +there):\n%s", diff)
			}
		})
	}
}

// TestAPodChangesItsLabels: routes follow, without being sent again.
func TestAPodChangesItsLabels(t *testing.T) {
	s := NewStore()
	fill(t, s, "1", of(outbound(), labels{"app": "till"}), sourced(virtualHost("all", "pay.shop"), "gray", label("app", "cashier")))
	if got := snapshot(t, s).Hosts["pay.shop"].Routes; len(got) != 1 {
		t.Errorf("routes %+v", got)
	}
	fill(t, s, "2", of(outbound(), labels{"app": "cashier"}))
	if got := snapshot(t, s).Hosts["pay.shop"].Routes; len(got) != 2 {
		t.Errorf("routes %+v", got)
	}
}

// TestAHostWithoutARouteForTheCaller is none for it.
func TestAHostWithoutARouteForTheCaller(t *testing.T) {
	s := NewStore()
	h := sourced(virtualHost("all", "pay.shop"), "gray", label("app", "cashier"))
	h.Routes = h.Routes[:1]
	fill(t, s, "1", of(outbound(), labels{"app": "till"}), h)
	if snap := snapshot(t, s); snap.Hosts["pay.shop"] != nil || snap.Clusters["gray"] != nil {
		t.Errorf("hosts %v, clusters %v", snap.Hosts, snap.Clusters)
	}
}

func TestTranslateSourceRefuses(t *testing.T) {
	broken := func(breaks func(*matcherv3.MetadataMatcher)) []*matcherv3.MetadataMatcher {
		m := label("app", "cashier")
		breaks(m)
		return []*matcherv3.MetadataMatcher{m}
	}
	cases := map[string]struct {
		need []*matcherv3.MetadataMatcher
		err  string
	}{
		"another filter": {broken(func(m *matcherv3.MetadataMatcher) { m.Filter = "envoy.lb" }), `routes[0]: match.dynamic_metadata[0].filter: "envoy.lb" is unknown`},
		"another path":   {broken(func(m *matcherv3.MetadataMatcher) { m.Path = m.Path[:1] }), "dynamic_metadata[0].path: send labels and the name"},
		"another field": {broken(func(m *matcherv3.MetadataMatcher) {
			m.Path[0].Segment = &matcherv3.MetadataMatcher_PathSegment_Key{Key: "annotations"}
		}), "path: send labels"},
		"the inverse":    {broken(func(m *matcherv3.MetadataMatcher) { m.Invert = true }), "dynamic_metadata[0].invert: unsupported"},
		"a prefix":       {broken(func(m *matcherv3.MetadataMatcher) { m.Value = nil }), "value: send string_match.exact"},
		"without case":   {broken(func(m *matcherv3.MetadataMatcher) { m.GetValue().GetStringMatch().IgnoreCase = true }), "value: send string_match.exact"},
		"twice the same": {[]*matcherv3.MetadataMatcher{label("app", "a"), label("app", "b")}, `label "app" is there twice`},
		"too many":       {make([]*matcherv3.MetadataMatcher, maxLabels+1), "send at most 16, not 17"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := translateHost(sourced(virtualHost("all", "pay.shop"), "gray", tc.need...))
			said(t, err, tc.err)
		})
	}
}
