package sidecarfleet

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// crashLoop is how many crashes of its sidecars, within one progress deadline, make a pod's version a crash loop in it.
const crashLoop = 3

// crashes is how often the sidecars of a version broke down in the pod, and since when that is counted: since the generation that serves was
// begun, when nothing is on record.
func (v view) crashes(version string) (n int64, since time.Time) {
	d := v.Desired
	if d.Since != nil {
		since = d.Since.Time
	}
	var counted int64
	if c := d.Crashes; c != nil && c.Version == version {
		n, since = c.Slots, c.Since.Time
		if c.Generation == v.serves {
			counted = c.Restarts
		}
	}
	if v.version == version {
		n += v.Status.Restarts - counted
	}
	return n, since
}

// died counts one slot more that died with the desired version.
func (v view) died(now time.Time, window time.Duration) *axlev1.PodCrashes {
	version := v.Desired.Version
	c := axlev1.PodCrashes{Version: version, Since: metav1.Time{Time: now.Truncate(time.Second)}}
	if old := v.Desired.Crashes; old != nil && old.Version == version && now.Before(old.Since.Add(window)) {
		c.Since, c.Slots = old.Since, old.Slots
	}
	c.Slots++
	return &c
}

// anew begins to count again.
func (v view) anew(now time.Time, version string) *axlev1.PodCrashes {
	return &axlev1.PodCrashes{Version: version, Since: metav1.Time{Time: now.Truncate(time.Second)}, Generation: v.serves, Restarts: v.Status.Restarts}
}

// crashing finds a crash loop of the fleet's version in a pod, also when another one serves in its place now; "" when there is none.
func (f Fleet) crashing(v *view, now time.Time) string {
	n, since := v.crashes(f.Version)
	if n < crashLoop || !now.Before(since.Add(f.Deadline)) {
		return ""
	}
	g, logs := v.serves, v.logs(v.serves)
	if v.version != f.Version {
		g, logs = v.highest(), v.previousLogs(v.highest())
	}
	return fmt.Sprintf("%s: %s: %s (%s) crashed %d times within %s. %s", Crash, v.NamespacedName, v.name(g), f.Version, n, f.Deadline, logs)
}

// recount begins to count crashes anew when a progress deadline has passed. A crash loop that was written down after the rollout is forgotten when
// none was seen for so long.
func (p *planner) recount(v *view) (Step, bool) {
	f, d := p.Fleet, v.Desired
	if d == nil || v.Pin != "" || v.stage != serving {
		return Step{}, false
	}
	n, since := v.crashes(f.Version)
	loops := f.Current == f.Version && d.Failed != nil && d.Failed.Version == f.Version && kindOf(d.Failed.Message) == Crash
	if n == 0 && !loops {
		return Step{}, false
	}
	if end := since.Add(f.Deadline); p.now.Before(end) {
		if loops {
			p.look(end)
		}
		return Step{}, false
	}
	next := d.DeepCopy()
	next.Crashes = nil
	if v.version == f.Version && n > 0 {
		next.Crashes = v.anew(p.now, f.Version)
	}
	note := "crashes are counted anew"
	if loops && n == 0 {
		next.Failed, note = nil, fmt.Sprintf("%s (%s) has not crashed for %s", v.name(v.serves), v.version, f.Deadline)
	}
	return v.step(Settle, next, note), true
}
