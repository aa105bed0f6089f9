package sidecarfleet

import (
	"fmt"
	"slices"
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
	// pullPatience is how long a pull may fail before it counts: the kubelet has tried at least twice by then.
	pullPatience = 30 * time.Second
)

// Pull is a pod of the operator's own that makes a version's image present on a node.
type Pull struct {
	types.NamespacedName
	UID           types.UID
	Version, Node string
	Created       time.Time
	// Present is true once the image has been pulled and run.
	Present bool
	// Broken is how the image failed when it was run.
	Broken string
	// Refused is why the node did not take the pod at all, which says nothing of the image.
	Refused string
	// Seen is true once the kubelet has spoken of the container; Reason and Message are its words.
	Seen            bool
	Reason, Message string
	// Going is true when it is being deleted.
	Going bool
}

// problem says why the image cannot be had, or "", and when to look again.
func (u Pull) problem(now time.Time, deadline time.Duration) (why string, look time.Time) {
	stuck := sidecars.Sidecar{Reason: u.Reason}.Stuck()
	patience := u.Created.Add(pullPatience)
	switch {
	case u.Going || u.Present || u.Refused != "":
		return "", time.Time{}
	case !u.Seen:
		return "", patience // it is said then that the node is silent
	case u.Broken != "":
		return u.Broken, time.Time{}
	case (stuck || u.Reason == "ErrImagePull") && !now.Before(patience):
		return "cannot be pulled" + because(u.Reason, u.Message), time.Time{}
	case stuck || u.Reason == "ErrImagePull":
		return "", patience
	case !now.Before(u.Created.Add(deadline)):
		return fmt.Sprintf("was not there within %s", deadline) + because(u.Reason, u.Message), time.Time{}
	}
	return "", u.Created.Add(deadline)
}

// unpullable finds the versions whose image some node cannot get.
func (p *planner) unpullable() {
	p.noImage = map[string]string{}
	for _, u := range p.Pulls {
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

// present says whether the node of a pod has the image of its target, or does not need to be asked.
func (p *planner) present(v *view) bool {
	return !p.Fleet.Prepull || slices.ContainsFunc(p.Pulls, func(u Pull) bool {
		return u.Version == v.target && u.Node == v.Node && u.Present && !u.Going
	})
}

// pull plans which nodes get which images now, and takes away what no pod waits for any more. Nodes come in the order of their pods; a node
// is done when its last pod has started its upgrade.
func (p *planner) pull() {
	if !p.Fleet.Prepull {
		return
	}
	type place struct{ version, node string }
	wanted := map[place]bool{}
	var order []place
	window := max(pullingAtOnce, limitOf(p.Fleet.MaxUpdating, len(p.views)))
	for i := range p.views {
		v := &p.views[i]
		at := place{v.target, v.Node}
		if wanted[at] || len(order) == window || !p.upgradable(v) {
			continue
		}
		wanted[at] = true
		order = append(order, at)
	}
	busy, has := 0, map[place]bool{}
	for _, u := range p.Pulls {
		at := place{u.Version, u.Node}
		has[at] = true
		if !u.Present {
			busy++
		}
		if step, over := p.over(u, wanted[at]); over && !u.Going {
			p.steps = append(p.steps, step)
		}
	}
	for _, at := range order {
		if !has[at] && busy < pullingAtOnce {
			busy++
			p.steps = append(p.steps, Step{Kind: Pulling, Version: at.version, Node: at.node, Note: fmt.Sprintf("node %s gets the image of %s", at.node, at.version)})
		}
	}
}

// over says whether a pull has done its work, or has to be tried again, and the step that removes it.
func (p *planner) over(u Pull, wanted bool) (Step, bool) {
	s := Step{Kind: Pulled, Pod: u.NamespacedName, UID: u.UID, Version: u.Version, Node: u.Node}
	if why, _ := u.problem(p.now, p.Fleet.Deadline); why != "" {
		s.Kind, s.Note = NoImage, u.unavailable(why)
		return s, true
	}
	s.Note = fmt.Sprintf("no pod of node %s waits for the image of %s", u.Node, u.Version)
	if wanted && u.Refused != "" {
		retry := u.Created.Add(pullPatience)
		p.look(retry)
		return s, !p.now.Before(retry)
	}
	return s, !wanted
}

// waiting says which node keeps pods from being upgraded because it does not run the pod that pulls, or "".
func (p *planner) waiting() string {
	var said []string
	for _, u := range p.Pulls {
		switch {
		case u.Refused != "":
			said = append(said, fmt.Sprintf("Node %s does not take the pod that pulls the image of %s (%s): its pods wait.", u.Node, u.Version, u.Refused))
		case !u.Seen && !u.Present && !u.Going && !p.now.Before(u.Created.Add(pullPatience)):
			said = append(said, fmt.Sprintf("Node %s has not started the pod that pulls the image of %s: its pods wait.", u.Node, u.Version))
		}
	}
	return strings.Join(said[:min(len(said), 3)], " ")
}
