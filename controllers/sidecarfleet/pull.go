package sidecarfleet

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/axlemesh/axle/controllers/sidecars"
)

// Images are pulled by pods of the operator's own, before a pod that serves depends on them: a slot whose image cannot be pulled makes
// its pod unready.
const (
	// pullingAtOnce is how many nodes may be pulling for one fleet.
	pullingAtOnce = 10
	// pullPatience is how long a pull may fail, from its first error, before it counts: the kubelet has tried at least twice by then. A node
	// that does not take the pod is asked again after it, and then more and more seldom, up to pullRest.
	pullPatience = 30 * time.Second
	pullRest     = 5 * time.Minute
)

// Pull is a pod of the operator's own that makes a version's image present on a node.
type Pull struct {
	types.NamespacedName
	UID           types.UID
	Version, Node string
	Created       time.Time
	// Since is when the node was asked first: it is asked with another pod when it did not take one.
	Since time.Time
	// Present is true once the image has been pulled and run.
	Present bool
	// Broken is how the image failed when it was run.
	Broken string
	// Refused is why the node did not take the pod at all, which says nothing of the image, and Before why it did not take the one before.
	Refused, Before string
	// Seen is true once the kubelet has spoken of the container; Reason and Message are its words.
	Seen            bool
	Reason, Message string
	// Erring is since when the kubelet has reported that it cannot pull; zero while it has not, or before that is written down.
	Erring time.Time
	// Failed is what was written down of a pull that failed for good while pods wait for it, and FailedIn in which attempt.
	Failed   string
	FailedIn int64
	// Going is true when it is being deleted.
	Going bool
}

// place is an image on a node.
type place struct{ version, node string }

func (u Pull) place() place { return place{u.Version, u.Node} }

// errs says whether the kubelet cannot pull, so far.
func (u Pull) errs() bool {
	return !u.Going && !u.Present && u.Refused == "" && u.Broken == "" && u.Seen &&
		(u.Reason == "ErrImagePull" || sidecars.Sidecar{Reason: u.Reason}.Stuck())
}

// stalls says whether the node does not run the pod, which says nothing of the image: it has no room, or its kubelet is silent.
func (u Pull) stalls(now time.Time) bool {
	switch {
	case u.Going || u.Present:
		return false
	case u.Refused != "":
		return true
	}
	return !u.Seen && (u.Before != "" || !now.Before(u.Created.Add(pullPatience)))
}

// problem says why the image cannot be had, or "", and when to look again.
func (u Pull) problem(now time.Time, deadline time.Duration) (why string, look time.Time) {
	switch {
	case u.Going || u.Present || u.Refused != "":
		return "", time.Time{}
	case u.Failed != "":
		return u.Failed, time.Time{}
	case !u.Seen:
		return "", u.Created.Add(pullPatience) // it is said then that the node is silent
	case u.Broken != "":
		return u.Broken, time.Time{}
	case u.errs() && u.Erring.IsZero():
		return "", now.Add(pullPatience)
	case u.errs() && !now.Before(u.Erring.Add(pullPatience)):
		return "cannot be pulled" + because(u.Reason, u.Message), time.Time{}
	case u.errs():
		return "", u.Erring.Add(pullPatience)
	case !now.Before(u.Created.Add(deadline)):
		return fmt.Sprintf("was not there within %s", deadline) + because(u.Reason, u.Message), time.Time{}
	}
	return "", u.Created.Add(deadline)
}

// unpullable finds the versions whose image some node cannot get.
func (p *planner) unpullable() {
	p.noImage, p.pulls = map[string]string{}, map[place]Pull{}
	for _, u := range p.Pulls {
		p.pulls[u.place()] = u
		why, look := u.problem(p.now, p.Fleet.Deadline)
		if !look.IsZero() {
			p.look(look)
		}
		if why != "" && p.noImage[u.Version] == "" {
			p.noImage[u.Version] = u.unavailable(why)
		}
	}
}

func (u Pull) unavailable(why string) string {
	return fmt.Sprintf("%s: node %s: the image of %s %s; no pod of that node was touched. See: kubectl describe pod -n %s %s",
		NoImage, u.Node, u.Version, why, u.Namespace, u.Name)
}

// halt stops the versions whose images cannot be had.
func (p *planner) halt() {
	for version := range p.noImage {
		p.stopped[version] = true
	}
}

// present says whether the node of a pod has the image of its target, or does not need to be asked: a pod in place serves on while its next
// sidecar waits for an image, so it goes ahead where the node does not run the pod that pulls.
func (p *planner) present(v *view) bool {
	if !p.Fleet.Prepull {
		return true
	}
	u, ok := p.pulls[place{v.target, v.Node}]
	return ok && (u.Present && !u.Going || !v.slotted() && u.stalls(p.now))
}

// unreachable says why a pod with slots cannot get its target's image: its node has not run the pod that pulls it for a progress deadline. "" when it
// can, or may still.
func (p *planner) unreachable(v *view) string {
	if !p.Fleet.Prepull || !v.slotted() || v.stage != serving || v.version == v.target {
		return ""
	}
	u, ok := p.pulls[place{v.target, v.Node}]
	if !ok || !u.stalls(p.now) {
		return ""
	}
	end := u.Since.Add(p.Fleet.Deadline)
	if p.now.Before(end) {
		p.look(end)
		return ""
	}
	return fmt.Sprintf("Blocked: %s, for %s or longer, so the image of %s is not there; see to that node", u.stalled(), p.Fleet.Deadline, u.Version)
}

// pull plans which nodes get which images now, and takes away what no pod waits for any more. Nodes come in the order of their pods; a node
// is done when its last pod has started its upgrade. Nodes that do not run the pod hold no other one up.
func (p *planner) pull() {
	if !p.Fleet.Prepull {
		return
	}
	wanted, waits := map[place]bool{}, map[place]bool{}
	var order []place
	window := max(pullingAtOnce, limitOf(p.Fleet.MaxUpdating, len(p.views)))
	for i := range p.views {
		v := &p.views[i]
		at := place{v.target, v.Node}
		if v.Wanted && v.stage == serving && v.version != v.target {
			waits[at] = true
		}
		stalls := p.pulls[at].stalls(p.now) && p.pulls[at].Version != ""
		if wanted[at] || !stalls && len(order) == window || !p.upgradable(v) {
			continue
		}
		wanted[at] = true
		if !stalls {
			order = append(order, at)
		}
	}
	busy := 0
	for _, u := range p.Pulls {
		if !u.Present && !u.stalls(p.now) && u.Failed == "" {
			busy++
		}
		if step, ok := p.tend(u, wanted[u.place()], waits[u.place()]); ok && !u.Going {
			p.steps = append(p.steps, step)
		}
	}
	for _, at := range order {
		if _, has := p.pulls[at]; !has && busy < pullingAtOnce {
			busy++
			p.steps = append(p.steps, Step{Kind: Pulling, Version: at.version, Node: at.node, Note: fmt.Sprintf("node %s gets the image of %s", at.node, at.version)})
		}
	}
}

// tend is the step for a pull that has done its work, has failed, or has to be tried again. Wanted pulls have pods that may be upgraded now; waits
// says whether there are pods for it at all. A pull that failed stays for those: it is the record of that, and the kubelet tries on.
func (p *planner) tend(u Pull, wanted, waits bool) (Step, bool) {
	s := Step{Kind: Pulled, Pod: u.NamespacedName, UID: u.UID, Version: u.Version, Node: u.Node}
	why, _ := u.problem(p.now, p.Fleet.Deadline)
	switch {
	case u.Failed != "" && why != "" && waits && u.FailedIn == p.Fleet.Attempt:
		return s, false
	case u.Failed != "" && why != "":
		s.Note = fmt.Sprintf("the image of %s is tried again on node %s when it is needed", u.Version, u.Node)
		return s, true
	case why != "":
		s.Kind, s.Note = NoImage, u.unavailable(why)
		if waits {
			s.Record = why
		}
		return s, true
	case waits && u.errs() && u.Erring.IsZero():
		s.Kind, s.Note = Erring, fmt.Sprintf("node %s cannot pull the image of %s%s; the kubelet tries again", u.Node, u.Version, because(u.Reason, u.Message))
		return s, true
	case wanted && u.Refused != "":
		retry := u.Created.Add(min(max(pullPatience, u.Created.Sub(u.Since)), pullRest))
		p.look(retry)
		s.Kind, s.Since, s.Record, s.Note = Pulling, u.Since, u.Refused, "once more: "+u.stalled()
		return s, !p.now.Before(retry)
	}
	s.Note = fmt.Sprintf("no pod of node %s waits for the image of %s", u.Node, u.Version)
	return s, !wanted
}

// stalled says in words that the node does not run the pod.
func (u Pull) stalled() string {
	if why := u.Refused + u.Before; why != "" {
		if u.Refused != "" {
			why = u.Refused
		}
		return fmt.Sprintf("node %s does not take the pod that pulls the image of %s (%s)", u.Node, u.Version, why)
	}
	return fmt.Sprintf("node %s has not started the pod that pulls the image of %s", u.Node, u.Version)
}

// waiting says which nodes keep pods from being upgraded because they do not run the pod that pulls, or "".
func (p *planner) waiting() string {
	var said []string
	more := 0
	for _, u := range p.Pulls {
		switch {
		case !u.stalls(p.now):
		case len(said) < 3:
			said = append(said, "N"+strings.TrimPrefix(u.stalled(), "n")+": its pods with slots wait.")
		default:
			more++
		}
	}
	if more > 0 {
		said = append(said, fmt.Sprintf("So do those of %d more nodes.", more))
	}
	return strings.Join(said, " ")
}
