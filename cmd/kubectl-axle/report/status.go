package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Status is how far the fleets of a cluster are; its JSON is for scripts.
type Status struct {
	Fleets []FleetStatus `json:"fleets"`
	// Left are pods that still have the sidecar of a fleet that is gone; only when all fleets were asked for.
	Left []PodStatus `json:"left,omitempty"`
}

// FleetStatus is one fleet with its pods. The counts, the step and the conditions are the controller's.
type FleetStatus struct {
	Name string `json:"name"`
	// Version that is wanted, and CurrentVersion, to which an undo goes.
	Version        string `json:"version"`
	CurrentVersion string `json:"currentVersion,omitempty"`
	UpdateVersion  string `json:"updateVersion,omitempty"`
	Paused         bool   `json:"paused"`
	// Stale is true while the controller has not looked at the fleet's last change.
	Stale      bool                 `json:"stale"`
	Pods       axlev1.FleetPods     `json:"pods"`
	Steps      []axlev1.UpdateStep  `json:"steps,omitempty"`
	Step       axlev1.FleetStep     `json:"step"`
	Handover   axlev1.FleetHandover `json:"handover"`
	Conditions []metav1.Condition   `json:"conditions"`
	// Members are the pods that were read: those that the fleet owns, and those that it has to leave.
	Members []PodStatus `json:"members"`
}

// PodStatus is one pod of a fleet.
type PodStatus struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Version, Generation and Phase of what serves; empty and 0 when nothing does, but Phase then says Starting, Ended or Left.
	Version    string `json:"version,omitempty"`
	Generation int64  `json:"generation,omitempty"`
	Phase      string `json:"phase,omitempty"`
	Carrying   bool   `json:"carrying"`
	// Target is the version that the pod is to run.
	Target   string                 `json:"target,omitempty"`
	Handover *axlev1.HandoverResult `json:"handover,omitempty"`
	// Skipped is why the operator adds no sidecar, or no other one.
	Skipped string `json:"skipped,omitempty"`
	// Failure is how the last attempt failed.
	Failure string `json:"failure,omitempty"`
	// Note says what is under way.
	Note string `json:"note,omitempty"`
}

// Status of the named fleets; of all when no name is given.
func (c *Cluster) Status(names ...string) (*Status, error) {
	status := &Status{Fleets: []FleetStatus{}}
	members := c.members()
	if len(names) == 0 {
		names, status.Left = c.FleetNames(), members[""]
	}
	for _, name := range names {
		f, err := c.Fleet(name)
		if err != nil {
			return nil, err
		}
		one := FleetStatus{
			Name: f.Name, Version: f.Spec.Version, CurrentVersion: f.Status.CurrentVersion, UpdateVersion: f.Status.UpdateVersion,
			Paused: f.Spec.Paused, Stale: stale(f), Pods: f.Status.Pods, Steps: f.Spec.UpdateStrategy.Steps, Step: f.Status.Step,
			Handover: f.Status.Handover, Conditions: inOrder(f.Status.Conditions), Members: members[name],
		}
		if one.Members == nil {
			one.Members = []PodStatus{}
		}
		status.Fleets = append(status.Fleets, one)
	}
	return status, nil
}

// members sorts the pods by the fleet whose affair they are; those of fleets that are gone are under "".
func (c *Cluster) members() map[string][]PodStatus {
	all := map[string][]PodStatus{}
	for i := range c.Pods {
		s := c.stand(&c.Pods[i])
		name := s.has
		if s.owner != nil {
			name = s.owner.Name
		}
		if name == "" {
			continue
		}
		if c.fleet(name) == nil {
			name = ""
		}
		all[name] = append(all[name], s.member())
	}
	for _, pods := range all {
		slices.SortFunc(pods, func(a, b PodStatus) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
	}
	return all
}

func (s *stand) member() PodStatus {
	p := PodStatus{
		Namespace: s.pod.Namespace, Name: s.pod.Name, Version: s.version, Generation: s.serves, Phase: s.phase(), Target: s.target,
		Skipped: s.pod.Annotations[axlev1.SkippedAnnotation], Failure: s.failure, Note: s.note(),
	}
	if s.status != nil {
		p.Carrying, p.Handover = s.status.Carrying && s.serves != 0, s.status.Handover
	}
	return p
}

// note says in a few words what is under way; "" when nothing is.
func (s *stand) note() string {
	if len(s.unread) > 0 {
		return s.unread[0].Error()
	}
	switch d := s.desired; s.stage {
	case away:
		return strings.TrimPrefix(whyAway(s.pod), "it ")
	case fresh:
		return "waits for its first sidecar"
	case starting, orphaned:
		return s.named(d.Generation, d.Version) + " starts"
	case unsent:
		return s.named(d.Generation, d.Version) + " is about to be added"
	case coming:
		return s.named(d.Generation, d.Version) + " has not connected yet"
	case ready:
		return s.named(d.Generation, d.Version) + " is ready to take over"
	case handover:
		return fmt.Sprintf("%s takes over from %s", s.named(d.Generation, d.Version), s.name(d.Predecessor))
	case obsolete:
		return s.named(d.Generation, d.Version) + " is not wanted any more"
	case leaving:
		return "callers go back to the direct way"
	case left:
		return "the sidecar has left"
	case serving:
		if !s.wanted() {
			return "is about to leave"
		}
		if s.failure == "" && s.version != s.target {
			return "waits for " + s.target
		}
	}
	return ""
}

// stale says whether the controller has not looked at the fleet's last change yet.
func stale(f *axlev1.SidecarFleet) bool { return f.Status.ObservedGeneration < f.Generation }

// order of the conditions in text: what a person looks at first.
var order = []string{
	axlev1.ConditionAvailable, axlev1.ConditionProgressing, axlev1.ConditionDegraded, axlev1.ConditionPaused,
	axlev1.ConditionRolledBack, axlev1.ConditionConflicted,
}

func inOrder(conditions []metav1.Condition) []metav1.Condition {
	rank := func(c metav1.Condition) int {
		if at := slices.Index(order, c.Type); at >= 0 {
			return at
		}
		return len(order)
	}
	sorted := slices.Clone(conditions)
	slices.SortStableFunc(sorted, func(a, b metav1.Condition) int { return cmp.Compare(rank(a), rank(b)) })
	if sorted == nil {
		sorted = []metav1.Condition{}
	}
	return sorted
}
