package sidecarfleet

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

var t0 = time.Unix(1_800_000_000, 0).UTC()

const minute = time.Minute

// A pod in these tests starts as one that serves v1 with generation 1 and is changed by the functions that follow.
type change func(*Pod)

func pod(name string, changes ...change) Pod {
	p := Pod{
		NamespacedName: types.NamespacedName{Namespace: "payments", Name: name}, UID: types.UID("uid-" + name),
		Workload: "Deployment/pay", Node: "node-1", Wanted: true,
		Sidecars: []sidecars.Sidecar{{Generation: 1, Container: "axle-g1", Running: true}},
		Desired:  &axlev1.PodDesired{Fleet: "default", Generation: 1, Version: "v1", Since: at(0)},
		Status:   &axlev1.PodStatus{Joined: "axle-g1", Generation: 1, Version: "v1", Phase: axlev1.PhaseServing},
	}
	for _, c := range changes {
		c(&p)
	}
	return p
}

func awakeSince(d time.Duration) func(*Fleet) {
	return func(f *Fleet) { f.Awake = t0.Add(d) }
}

func createdAt(d time.Duration) change { return func(p *Pod) { p.Created = t0.Add(d) } }

func at(d time.Duration) *metav1.Time { return &metav1.Time{Time: t0.Add(d)} }

func bare(p *Pod)               { p.Sidecars, p.Desired, p.Status = nil, nil, nil }
func unwanted(p *Pod)           { p.Wanted = false }
func isAwayNow(p *Pod)          { p.Away = true }
func on(node string) change     { return func(p *Pod) { p.Node = node } }
func in(zone string) change     { return func(p *Pod) { p.Zone = zone } }
func of(workload string) change { return func(p *Pod) { p.Workload = workload } }
func runs(version string) change {
	return func(p *Pod) { p.Desired.Version, p.Status.Version = version, version }
}

// wants sets the desire to another generation.
func wants(generation int64, version string, predecessor int64, begin bool, since time.Duration) change {
	return func(p *Pod) {
		p.Desired = &axlev1.PodDesired{Fleet: "default", Generation: generation, Version: version, Predecessor: predecessor, Begin: begin, Since: at(since)}
	}
}

// has adds a running container of a generation.
func has(generation int64, changes ...func(*sidecars.Sidecar)) change {
	return func(p *Pod) {
		s := sidecars.Sidecar{Generation: generation, Container: sidecars.Name(generation), Running: true}
		for _, c := range changes {
			c(&s)
		}
		p.Sidecars = append(p.Sidecars, s)
	}
}

func exited(code int32, reason string) func(*sidecars.Sidecar) {
	return func(s *sidecars.Sidecar) { s.Running, s.Terminated, s.ExitCode, s.Reason = false, true, code, reason }
}

func pulls(s *sidecars.Sidecar) {
	s.Running, s.Reason, s.Message = false, "ImagePullBackOff", "no such image"
}

func ends(generation int64, code int32) change {
	return func(p *Pod) {
		for i := range p.Sidecars {
			if p.Sidecars[i].Generation == generation {
				exited(code, "Completed")(&p.Sidecars[i])
			}
		}
	}
}

func candidate(generation int64) change { return func(p *Pod) { p.Status.Candidate = generation } }
func phase(ph axlev1.Phase) change      { return func(p *Pod) { p.Status.Phase = ph } }

func serves(generation int64, version string) change {
	return func(p *Pod) { p.Status.Generation, p.Status.Version, p.Status.Candidate = generation, version, 0 }
}

func ended(from, to int64, ok bool) change {
	return func(p *Pod) {
		p.Status.Handover = &axlev1.HandoverResult{From: from, To: to, OK: ok, Step: "Move", Reason: "candidate died", Moved: 100, Lost: 0, DurationMicros: 35000}
	}
}

func failedOn(generation int64, version string, attempt int64) change {
	return func(p *Pod) {
		p.Desired.Failed = &axlev1.PodFailure{Generation: generation, Version: version, Attempt: attempt, Message: "HandoverFailed: it did"}
	}
}

// A fleet in these tests wants v2, and its pods ran v1.
func fleet(changes ...func(*Fleet)) Fleet {
	f := Fleet{
		Name: "default", Generation: 2, Attempt: 2, Version: "v2", Current: "v1", InPlace: true, MaxGenerations: 50,
		MaxUpdating: intstr.FromInt32(1), Steps: []axlev1.UpdateStep{{Percent: 100}}, Deadline: 10 * minute,
	}
	for _, c := range changes {
		c(&f)
	}
	return f
}

func upTo(s string) func(*Fleet)         { return func(f *Fleet) { f.MaxUpdating = intstr.Parse(s) } }
func isPaused(f *Fleet)                  { f.Paused = true }
func wantsV(version string) func(*Fleet) { return func(f *Fleet) { f.Version = version } }
func first(f *Fleet)                     { f.Version, f.Current = "v1", "" }

func versions() map[string]Version {
	all := map[string]Version{"broken": {Problem: `SidecarVersion "broken" is not verified: no such tag`}}
	for _, v := range []string{"v1", "v2", "v3"} {
		all[v] = Version{Handover: axlev1.VersionRange{Min: 1, Max: 2}, Served: true}
	}
	all["unseen"] = Version{Handover: axlev1.VersionRange{Min: 1, Max: 2}}
	all["v9"] = Version{Handover: axlev1.VersionRange{Min: 9, Max: 9}}
	return all
}

// say renders a step for comparison: kind, pod, and what is desired.
func say(s Step) string {
	text := fmt.Sprintf("%s %s", s.Kind, s.Pod.Name)
	if d := s.Desired; d != nil {
		text += fmt.Sprintf(" g%d %s", d.Generation, d.Version)
		if d.Predecessor != 0 {
			text += fmt.Sprintf(" from g%d", d.Predecessor)
		}
		if d.Begin {
			text += " begin"
		}
		if d.Leave {
			text += " leave"
		}
		if d.Failed != nil {
			text += fmt.Sprintf(" (failed g%d %s)", d.Failed.Generation, d.Failed.Version)
		}
	}
	if d := s.Desired; d != nil && d.Crashes != nil && d.Crashes.Slots > 0 {
		text += fmt.Sprintf(" (%d of %s died)", d.Crashes.Slots, d.Crashes.Version)
	}
	if s.Stub {
		text += " +stub"
	}
	if s.Flip != nil && s.Flip.Slot != "" {
		text += " +flip " + s.Flip.Slot
	}
	if s.Flip != nil && s.Flip.Serving != nil {
		text += fmt.Sprintf(" +serving %d", *s.Flip.Serving)
	}
	return text
}
