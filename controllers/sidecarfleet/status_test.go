package sidecarfleet

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

func TestSummarize(t *testing.T) {
	cases := map[string]struct {
		fleet   Fleet
		pods    []Pod
		rivals  []string
		counts  axlev1.FleetPods
		current string
		secret  bool // images are pulled with one
		// later the same facts give the same status; an hour later if it is 0.
		later time.Duration
		// want are conditions as TYPE=STATUS/REASON.
		want []string
		// says is a part of the message of the condition of that type.
		says map[string]string
	}{
		"no pods": {
			fleet: fleet(), current: "v2",
			want: []string{"Available=True/NoPods", "Progressing=False/Complete", "Degraded=False/Healthy", "Paused=False/NotPaused", "Conflicted=False/NoOtherFleet"},
		},
		"no pods, and a version that has served nowhere": {
			fleet: fleet(wantsV("unseen")), current: "v1",
			want: []string{"Available=True/NoPods", "Progressing=False/Complete"},
		},
		"no pods ever": {
			fleet: fleet(first, wantsV("unseen")), current: "",
			want: []string{"Available=True/NoPods"},
			says: map[string]string{"Available": "unseen has served nowhere yet"},
		},
		"a pod names no secret for the images of sidecars": {
			fleet: fleet(), secret: true, current: "v1",
			pods:   []Pod{pod("a", runs("v2"), func(p *Pod) { p.Secret = true }), pod("b")},
			counts: axlev1.FleetPods{Matched: 2, Injected: 2, InPlace: 2, Updated: 1, Blocked: 1},
			want:   []string{"Degraded=True/PodsBlocked"},
			says:   map[string]string{"Degraded": "sidecar.imagePullSecrets"},
		},
		"first sidecars are on their way": {
			fleet: fleet(first), pods: []Pod{pod("a", bare), pod("b", runs("v1"))}, current: "v1",
			counts: axlev1.FleetPods{Matched: 2, Injected: 1, InPlace: 1, Updated: 1},
			want:   []string{"Available=False/SidecarsMissing", "Progressing=True/Injecting", "Degraded=False/Healthy"},
			says:   map[string]string{"Available": "1 of 2 pods have no serving sidecar"},
		},
		"no pod serves yet: nothing is proven": {
			fleet: fleet(first), pods: []Pod{pod("a", bare)}, current: "",
			counts: axlev1.FleetPods{Matched: 1},
			want:   []string{"Progressing=True/Injecting"},
		},
		"an upgrade is on its way": {
			fleet: fleet(), pods: []Pod{pod("a", runs("v2"), ended(0, 1, true)), pod("b", func(p *Pod) { p.Status.Carrying = true }), pod("c", isAwayNow)},
			counts: axlev1.FleetPods{Matched: 2, Injected: 2, InPlace: 2, Updated: 1, Carrying: 1}, current: "v1",
			want: []string{"Available=True/AllServing", "Progressing=True/Upgrading", "Degraded=False/Healthy"},
			says: map[string]string{"Progressing": "1 of 2 pods serve with v2."},
		},
		"an upgrade is complete": {
			fleet: fleet(), pods: []Pod{pod("a", runs("v2")), pod("b", runs("v2"))}, current: "v2",
			counts: axlev1.FleetPods{Matched: 2, Injected: 2, InPlace: 2, Updated: 2},
			want:   []string{"Progressing=False/Complete"},
		},
		"a pinned pod does not hold the rollout up": {
			fleet: fleet(), pods: []Pod{pod("a", runs("v2")), pod("b", func(p *Pod) { p.Pin = "v1" })}, current: "v2",
			counts: axlev1.FleetPods{Matched: 2, Injected: 2, InPlace: 2, Updated: 1},
			want:   []string{"Progressing=False/Complete"},
		},
		"a handover failed": {
			fleet: fleet(), pods: []Pod{pod("a", has(2, exited(1, "Error")), failedOn(2, "v2", 2)), pod("b")}, current: "v1",
			counts: axlev1.FleetPods{Matched: 2, Injected: 2, InPlace: 2, Failed: 1},
			want:   []string{"Available=True/AllServing", "Progressing=False/Stopped", "Degraded=True/HandoverFailed"},
			says:   map[string]string{"Degraded": `kubectl patch sidecarfleet default --type merge -p '{"spec":{"version":"v1"}}'`},
		},
		"the pod whose handover failed is gone, and what was said stays": {
			fleet: fleet(func(f *Fleet) { f.Stopped, f.StoppedBy = "HandoverFailed: payments/a: it did", string(Fail) }), pods: []Pod{pod("b")}, current: "v1",
			counts: axlev1.FleetPods{Matched: 1, Injected: 1, InPlace: 1},
			want:   []string{"Progressing=False/Stopped", "Degraded=True/HandoverFailed"},
			says:   map[string]string{"Degraded": "payments/a"},
		},
		"a first sidecar failed": {
			fleet: fleet(first), pods: []Pod{pod("a", bare, wants(1, "v1", 0, false, 0), has(1, pulls))}, current: "",
			counts: axlev1.FleetPods{Matched: 1, Failed: 1},
			want:   []string{"Available=False/SidecarsMissing", "Progressing=False/Stopped", "Degraded=True/SidecarFailed"},
			says:   map[string]string{"Degraded": "ImagePullBackOff: no such image"},
		},
		"the version is not there": {
			fleet: fleet(wantsV("v7")), pods: []Pod{pod("a")}, current: "v1",
			counts: axlev1.FleetPods{Matched: 1, Injected: 1, InPlace: 1},
			want:   []string{"Progressing=False/VersionUnavailable", "Degraded=True/VersionUnavailable"},
			says:   map[string]string{"Degraded": `SidecarVersion "v7" does not exist`},
		},
		"pods are blocked": {
			fleet: fleet(func(f *Fleet) { f.MaxGenerations = 1 }), pods: []Pod{pod("a")}, current: "v1",
			counts: axlev1.FleetPods{Matched: 1, Injected: 1, InPlace: 1, Blocked: 1},
			want:   []string{"Degraded=True/PodsBlocked"},
			says:   map[string]string{"Degraded": "maxGenerations"},
		},
		"pods that cannot have one do not make the fleet unavailable": {
			fleet: fleet(wantsV("v1")), pods: []Pod{pod("a"), pod("b", bare, func(p *Pod) { p.Skip = "HostNetwork: x" })}, current: "v1",
			counts: axlev1.FleetPods{Matched: 2, Injected: 1, InPlace: 1, Updated: 1, Blocked: 1},
			want:   []string{"Available=True/AllServing", "Degraded=False/Healthy"},
		},
		"a step's pause holds": {
			fleet: fleet(halfway), pods: []Pod{pod("a", runs("v2")), pod("b")}, current: "v1", later: time.Minute,
			counts: axlev1.FleetPods{Matched: 2, Injected: 2, InPlace: 2, Updated: 1},
			want:   []string{"Progressing=True/StepPause", "Paused=True/StepPause"},
			says:   map[string]string{"Paused": "until 2027-01-15T08:05:00Z. To go on now: kubectl axle rollout promote default, or: kubectl annotate --overwrite sidecarfleet default axlemesh.io/promote=v2/1@2"},
		},
		"paused": {
			fleet: fleet(isPaused), pods: []Pod{pod("a")}, current: "v1",
			counts: axlev1.FleetPods{Matched: 1, Injected: 1, InPlace: 1},
			want:   []string{"Progressing=False/Paused", "Paused=True/Paused"},
		},
		"another fleet owns pods": {
			fleet: fleet(wantsV("v1")), pods: []Pod{pod("a")}, rivals: []string{"gold"}, current: "v1",
			counts: axlev1.FleetPods{Matched: 1, Injected: 1, InPlace: 1, Updated: 1},
			want:   []string{"Conflicted=True/OtherFleetOwnsPods"},
			says:   map[string]string{"Conflicted": "belong to gold"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			seen := Observed{Fleet: tc.fleet, Versions: versions(), Pods: tc.pods, Rivals: tc.rivals, Contested: len(tc.rivals), Secret: tc.secret}
			old := axlev1.SidecarFleetStatus{CurrentVersion: tc.fleet.Current, UpdateVersion: tc.fleet.Version}
			got := Summarize(t0, seen, old, nil)
			if diff := cmp.Diff(tc.counts, got.Pods); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			if got.CurrentVersion != tc.current {
				t.Errorf("current version %q, want %q", got.CurrentVersion, tc.current)
			}
			var all []string
			for _, c := range got.Conditions {
				all = append(all, c.Type+"="+string(c.Status)+"/"+c.Reason)
			}
			for _, want := range tc.want {
				if !strings.Contains(strings.Join(all, " ")+" ", want+" ") {
					t.Errorf("conditions %v lack %s", all, want)
				}
			}
			for kind, part := range tc.says {
				if c := meta.FindStatusCondition(got.Conditions, kind); c == nil || !strings.Contains(c.Message, part) {
					t.Errorf("condition %s: %+v does not say %q", kind, c, part)
				}
			}
			if tc.later == 0 {
				tc.later = time.Hour
			}
			if diff := cmp.Diff(got, Summarize(t0.Add(tc.later), seen, got, nil)); diff != "" {
				t.Errorf("later the same facts give another status:\n%s", diff)
			}
		})
	}
}

func TestHandoversAreSummedUp(t *testing.T) {
	slow := pod("b", runs("v2"), ended(0, 1, true))
	slow.Status.Handover.FreezeP99Micros, slow.Status.Handover.Lost = 7000, 2
	got := Summarize(t0, Observed{Fleet: fleet(), Versions: versions(), Pods: []Pod{pod("a", runs("v2"), ended(0, 1, true)), slow, pod("c", ended(0, 1, true))}}, axlev1.SidecarFleetStatus{}, nil)
	if got.Handover.ConnectionsMoved != 200 || got.Handover.ConnectionsLost != 2 || got.Handover.FreezeP99 == nil || got.Handover.FreezeP99.Duration != 7*time.Millisecond {
		t.Errorf("handover = %+v", got.Handover)
	}
}
