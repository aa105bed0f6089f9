package trafficrule

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/xds"
)

var t0 = time.Unix(1_800_000_000, 0)

func report(parent int, accepted, resolved xds.Reason) xds.Report {
	return xds.Report{
		Parent: parent, Generation: 3,
		Accepted: xds.Finding{OK: accepted == xds.ReasonAccepted, Reason: accepted, Message: "m."},
		Resolved: xds.Finding{OK: resolved == xds.ReasonResolvedRefs, Reason: resolved, Message: "m."},
	}
}

func entry(name, version string, total, acked, nacked int32) axlev1.ReplicaProxies {
	e := axlev1.ReplicaProxies{Name: name, Version: version, ProxyCounts: axlev1.ProxyCounts{Total: total, Acked: acked, Nacked: nacked}}
	if nacked > 0 {
		e.Message = "payments/pay-0 (axle-a): no"
	}
	return e
}

func summary(all []metav1.Condition) string {
	var words []string
	for _, c := range all {
		words = append(words, fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason))
	}
	return strings.Join(words, " ")
}

func TestStatus(t *testing.T) {
	good := []xds.Report{report(0, xds.ReasonAccepted, xds.ReasonResolvedRefs)}
	const fine = "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs Programmed="
	cases := map[string]struct {
		replicas []axlev1.ReplicaProxies
		reports  []xds.Report
		version  string // "v2" by default, "-" for none
		lost     []string
		want     string
		says     string
		proxies  axlev1.ProxyCounts
		kept     int
	}{
		"all have taken it": {
			replicas: []axlev1.ReplicaProxies{entry("a", "v2", 2, 2, 0), entry("b", "v2", 3, 3, 0)}, want: fine + "True/Programmed", proxies: axlev1.ProxyCounts{Total: 5, Acked: 5}, kept: 2,
		},
		"one has not answered": {
			replicas: []axlev1.ReplicaProxies{entry("a", "v2", 2, 1, 0), entry("b", "v2", 3, 3, 0)}, want: fine + "False/Pending", proxies: axlev1.ProxyCounts{Total: 5, Acked: 4}, kept: 2,
		},
		"one rejected it": {
			replicas: []axlev1.ReplicaProxies{entry("a", "v2", 2, 1, 0), entry("b", "v2", 3, 2, 1)}, want: fine + "False/NACKed", says: "goes on with what it had: payments/pay-0 (axle-a): no",
			proxies: axlev1.ProxyCounts{Total: 5, Acked: 3, Nacked: 1}, kept: 2,
		},
		"another replica speaks of older routes": {
			replicas: []axlev1.ReplicaProxies{entry("a", "v2", 2, 2, 0), entry("b", "v1", 3, 3, 0)}, want: fine + "False/Pending", proxies: axlev1.ProxyCounts{Total: 5, Acked: 2}, kept: 2,
		},
		"a ready replica has not spoken":        {replicas: []axlev1.ReplicaProxies{entry("a", "v2", 2, 2, 0)}, want: fine + "False/Pending", proxies: axlev1.ProxyCounts{Total: 2, Acked: 2}, kept: 1},
		"one that is gone does not count":       {replicas: []axlev1.ReplicaProxies{entry("a", "v2", 2, 2, 0), entry("b", "v2", 1, 1, 0), entry("z", "v2", 9, 0, 9)}, want: fine + "True/Programmed", proxies: axlev1.ProxyCounts{Total: 3, Acked: 3}, kept: 2},
		"one that ends counts while it does":    {replicas: []axlev1.ReplicaProxies{entry("a", "v2", 2, 2, 0), entry("b", "v2", 1, 1, 0), entry("ending", "v1", 1, 1, 0)}, want: fine + "False/Pending", proxies: axlev1.ProxyCounts{Total: 4, Acked: 3}, kept: 3},
		"no sidecars":                           {replicas: []axlev1.ReplicaProxies{entry("a", "v2", 0, 0, 0), entry("b", "v2", 0, 0, 0)}, want: fine + "Unknown/NoSidecars", kept: 2},
		"another Service has some of its keys":  {replicas: []axlev1.ReplicaProxies{entry("a", "v2", 1, 1, 0), entry("b", "v2", 1, 1, 0)}, lost: []string{"k1", "k2"}, want: fine + "True/Programmed", says: "An older Service has the service keys k1, k2", proxies: axlev1.ProxyCounts{Total: 2, Acked: 2}, kept: 2},
		"another Service has all of them":       {version: "-", lost: []string{"k"}, want: fine + "False/ServiceKeyTaken"},
		"a rule that is not accepted":           {version: "-", reports: []xds.Report{report(0, xds.ReasonConflicted, xds.ReasonConflicted)}, want: "Accepted=False/Conflicted ResolvedRefs=False/Conflicted Programmed=False/NotAccepted"},
		"a backend that is not there is no bar": {replicas: []axlev1.ReplicaProxies{entry("a", "v2", 1, 1, 0), entry("b", "v2", 1, 1, 0)}, reports: []xds.Report{report(0, xds.ReasonAccepted, xds.ReasonBackendNotFound)}, want: "Accepted=True/Accepted ResolvedRefs=False/BackendNotFound Programmed=True/Programmed", proxies: axlev1.ProxyCounts{Total: 2, Acked: 2}, kept: 2},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			rule := &axlev1.TrafficRule{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "gray", Generation: 3}}
			rule.Spec.ParentRefs = []axlev1.ParentRef{{Kind: axlev1.ParentService, Name: "pay"}}
			rule.Status.Replicas = tc.replicas
			o := Observed{Rule: rule, Reports: good, Version: "v2", Lost: tc.lost, Ready: []string{"a", "b"}, Alive: []string{"a", "b", "ending"}, Now: t0}
			if tc.reports != nil {
				o.Reports = tc.reports
			}
			if tc.version == "-" {
				o.Version = ""
			}
			st := Status(o)
			for _, got := range []string{summary(st.Conditions), summary(st.Parents[0].Conditions)} {
				if got != tc.want {
					t.Errorf("conditions %s\nwant       %s", got, tc.want)
				}
			}
			if st.ObservedGeneration != 3 || st.Conditions[0].ObservedGeneration != 3 {
				t.Errorf("observed %d, %d", st.ObservedGeneration, st.Conditions[0].ObservedGeneration)
			}
			if m := st.Conditions[2].Message; !strings.Contains(m, tc.says) {
				t.Errorf("message %q, want %q", m, tc.says)
			}
			if diff := cmp.Diff(tc.proxies, st.Proxies); diff != "" || len(st.Replicas) != tc.kept {
				t.Errorf("%d replicas, proxies (-want +got):\n%s", len(st.Replicas), diff)
			}
			rule.Status = st
			o.Now = t0.Add(time.Hour)
			if again := Status(o); !equality.Semantic.DeepEqual(st, again) {
				t.Errorf("nothing happened, and the status changes:\n%s", cmp.Diff(st, again))
			}
		})
	}
}

func TestTheWorstParentSpeaksForTheRule(t *testing.T) {
	rule := &axlev1.TrafficRule{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
	rule.Spec.ParentRefs = []axlev1.ParentRef{{Name: "pay"}, {Name: "refund"}}
	rule.Status.Replicas = []axlev1.ReplicaProxies{entry("a", "v", 1, 1, 0)}
	st := Status(Observed{
		Rule: rule, Version: "v", Ready: []string{"a"}, Alive: []string{"a"}, Now: t0,
		Reports: []xds.Report{report(0, xds.ReasonAccepted, xds.ReasonResolvedRefs), report(1, xds.ReasonConflicted, xds.ReasonConflicted)},
	})
	if got, want := summary(st.Conditions), "Accepted=False/Conflicted ResolvedRefs=False/Conflicted Programmed=False/NotAccepted"; got != want {
		t.Errorf("conditions %s, want %s", got, want)
	}
	if got, want := summary(st.Parents[0].Conditions), "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs Programmed=True/Programmed"; got != want {
		t.Errorf("the good parent: %s, want %s", got, want)
	}
	if m := st.Conditions[0].Message; m != "Service refund: m." {
		t.Errorf("message %q", m)
	}
}

func TestEntered(t *testing.T) {
	others := []axlev1.ReplicaProxies{entry("b", "v1", 1, 1, 0), entry("c", "v1", 1, 1, 0)}
	count := xds.Count{Version: "v2", Total: 3, Acked: 1, Nacked: 2, Message: strings.Repeat("ä", maxMessage)}
	got := entered(others, "a", count)
	if len(got) != 3 || got[0].Name != "a" || got[0].Nacked != 2 || len(got[0].Message) > maxMessage || len(others) != 2 {
		t.Errorf("entries %+v", got)
	}
	count.Message = ""
	if again := entered(got, "a", count); len(again) != 3 || again[0].Message != "" {
		t.Errorf("the second time %+v", again)
	}
	if gone := entered(got, "a", xds.Count{}); len(gone) != 2 {
		t.Errorf("without routes %+v", gone)
	}
}

func TestPace(t *testing.T) {
	rule := types.NamespacedName{Name: "gray"}
	var p pace
	if w := p.wait(rule, t0); w != 0 {
		t.Errorf("the first write waits %s", w)
	}
	p.wrote(rule, t0)
	for after, want := range map[time.Duration]time.Duration{0: apart, 400 * time.Millisecond: 600 * time.Millisecond, apart: 0, time.Hour: 0, -time.Hour: apart} {
		if w := p.wait(rule, t0.Add(after)); w != want {
			t.Errorf("after %s: waits %s, want %s", after, w, want)
		}
	}
	p.forget(rule)
	if w := p.wait(rule, t0); w != 0 {
		t.Errorf("a new rule of that name waits %s", w)
	}
}
