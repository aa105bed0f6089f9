// Package report says what stands in a cluster's objects: how far a fleet is, why a pod has the sidecar that it has, and
// what a person's change of a rollout would be. Objects go in, values and text come out; there is no client here and no
// clock. It says the same things as the fleet controller, whose decisions it only retells.
package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/axlemesh/axle/api/membership"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Cluster is what was read from one.
type Cluster struct {
	Fleets     []axlev1.SidecarFleet
	Versions   []axlev1.SidecarVersion
	Namespaces []corev1.Namespace
	Pods       []corev1.Pod
	// OperatorNamespace never takes part, whatever its labels say.
	OperatorNamespace string
	// Now is when it was read.
	Now time.Time
}

// Fleet returns the fleet of that name; the error says which ones there are.
func (c *Cluster) Fleet(name string) (*axlev1.SidecarFleet, error) {
	if f := c.fleet(name); f != nil {
		return f, nil
	}
	if len(c.Fleets) == 0 {
		return nil, fmt.Errorf("no SidecarFleet %q: there is none in this cluster", name)
	}
	return nil, fmt.Errorf("no SidecarFleet %q: there is %s", name, strings.Join(c.FleetNames(), ", "))
}

// FleetNames lists the fleets, sorted.
func (c *Cluster) FleetNames() []string {
	names := make([]string, 0, len(c.Fleets))
	for i := range c.Fleets {
		names = append(names, c.Fleets[i].Name)
	}
	slices.Sort(names)
	return names
}

// VersionNames lists the SidecarVersions, sorted.
func (c *Cluster) VersionNames() []string {
	names := make([]string, 0, len(c.Versions))
	for i := range c.Versions {
		names = append(names, c.Versions[i].Name)
	}
	slices.Sort(names)
	return names
}

func (c *Cluster) fleet(name string) *axlev1.SidecarFleet {
	for i := range c.Fleets {
		if c.Fleets[i].Name == name {
			return &c.Fleets[i]
		}
	}
	return nil
}

// namespace returns the namespace of that name, or an empty one when it was not read.
func (c *Cluster) namespace(name string) *corev1.Namespace {
	for i := range c.Namespaces {
		if c.Namespaces[i].Name == name {
			return &c.Namespaces[i]
		}
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// ranked lists the fleets in the order in which they come to own a pod: priority, then age, then name.
func (c *Cluster) ranked() []*axlev1.SidecarFleet {
	all := make([]*axlev1.SidecarFleet, 0, len(c.Fleets))
	for i := range c.Fleets {
		all = append(all, &c.Fleets[i])
	}
	slices.SortFunc(all, membership.Rank)
	return all
}

// problem says why a version cannot be brought into a pod, or "".
func (c *Cluster) problem(version string) string {
	for i := range c.Versions {
		v := &c.Versions[i]
		if v.Name != version {
			continue
		}
		verified := meta.FindStatusCondition(v.Status.Conditions, axlev1.ConditionVerified)
		switch {
		case verified == nil:
			return fmt.Sprintf("SidecarVersion %q has not been verified yet", version)
		case verified.Status != metav1.ConditionTrue || v.Status.Digest == "":
			return fmt.Sprintf("SidecarVersion %q is not verified: %s", version, verified.Message)
		}
		return ""
	}
	return fmt.Sprintf("SidecarVersion %q does not exist", version)
}

// ago says how long before now something was: "3m ago".
func (c *Cluster) ago(t time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return duration.HumanDuration(c.Now.Sub(t)) + " ago"
}

func isTrue(conditions []metav1.Condition, kind, reason string) bool {
	c := meta.FindStatusCondition(conditions, kind)
	return c != nil && c.Status == metav1.ConditionTrue && (reason == "" || c.Reason == reason)
}

// count says "1 pod" and "2 pods".
func count[N int | int32 | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
