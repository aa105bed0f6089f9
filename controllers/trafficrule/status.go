package trafficrule

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/xds"
)

// Reasons of the condition Programmed. Those of the others are the xDS side's.
const (
	reasonProgrammed  = "Programmed"
	reasonPending     = "Pending"
	reasonNACKed      = "NACKed"
	reasonNoSidecars  = "NoSidecars"
	reasonNotAccepted = "NotAccepted"
	reasonKeyTaken    = "ServiceKeyTaken"
)

// Observed is what a rule's status is made from.
type Observed struct {
	Rule    *axlev1.TrafficRule
	Reports []xds.Report // one for each parent, in order
	// Version of the routes and clusters that this replica has; empty when the rule has none.
	Version string
	// Lost are service keys of the rule that an older Service claims.
	Lost []string
	// Ready replicas must have an entry of that version. Entries of replicas that are not Alive are dropped.
	Ready, Alive []string
	Now          time.Time
}

// Status of a rule. It is pure.
func Status(o Observed) axlev1.TrafficRuleStatus {
	before := o.Rule.Status
	st := axlev1.TrafficRuleStatus{
		ObservedGeneration: o.Rule.Generation,
		Conditions:         slices.Clone(before.Conditions),
		Replicas: slices.DeleteFunc(slices.Clone(before.Replicas), func(e axlev1.ReplicaProxies) bool {
			return !slices.Contains(o.Alive, e.Name)
		}),
	}
	var all metav1.Condition
	st.Proxies, all = programmed(o, st.Replicas)
	worst := map[string]metav1.Condition{}
	for i, ref := range o.Rule.Spec.ParentRefs {
		p := axlev1.ParentStatus{ParentRef: ref}
		for _, old := range before.Parents {
			if old.ParentRef == ref {
				p.Conditions = slices.Clone(old.Conditions)
			}
		}
		mine := all
		if !o.Reports[i].Accepted.OK {
			mine = condition(axlev1.ConditionProgrammed, metav1.ConditionFalse, reasonNotAccepted, "The rule is not accepted for this parent, so it has no effect.")
		}
		for _, c := range []metav1.Condition{
			found(axlev1.ConditionAccepted, o.Reports[i].Accepted), found(axlev1.ConditionResolvedRefs, o.Reports[i].Resolved), mine,
		} {
			o.set(&p.Conditions, c)
			if len(o.Rule.Spec.ParentRefs) > 1 {
				c.Message = "Service " + ref.Name + ": " + c.Message
			}
			if was, ok := worst[c.Type]; !ok || badness(c) > badness(was) {
				worst[c.Type] = c
			}
		}
		st.Parents = append(st.Parents, p)
	}
	for _, kind := range []string{axlev1.ConditionAccepted, axlev1.ConditionResolvedRefs, axlev1.ConditionProgrammed} {
		o.set(&st.Conditions, worst[kind])
	}
	return st
}

func (o Observed) set(conditions *[]metav1.Condition, c metav1.Condition) {
	c.ObservedGeneration, c.LastTransitionTime = o.Rule.Generation, metav1.NewTime(o.Now.Truncate(time.Second))
	meta.SetStatusCondition(conditions, c)
}

// badness orders statuses: False outweighs Unknown, which outweighs True.
func badness(c metav1.Condition) int {
	switch c.Status {
	case metav1.ConditionFalse:
		return 2
	case metav1.ConditionUnknown:
		return 1
	}
	return 0
}

func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

func found(kind string, f xds.Finding) metav1.Condition {
	status := metav1.ConditionFalse
	if f.OK {
		status = metav1.ConditionTrue
	}
	return condition(kind, status, string(f.Reason), f.Message)
}

// programmed adds the replicas' entries up. What is said of another version than this replica's is not known yet.
func programmed(o Observed, replicas []axlev1.ReplicaProxies) (axlev1.ProxyCounts, metav1.Condition) {
	set := func(status metav1.ConditionStatus, reason, message string) metav1.Condition {
		if len(o.Lost) > 0 {
			message += fmt.Sprintf(" An older Service has the service keys %s: the rule has no effect on them.", strings.Join(o.Lost, ", "))
		}
		return condition(axlev1.ConditionProgrammed, status, reason, message)
	}
	var sum axlev1.ProxyCounts
	if o.Version == "" {
		if len(o.Lost) > 0 {
			return sum, set(metav1.ConditionFalse, reasonKeyTaken, "The rule has no effect.")
		}
		return sum, set(metav1.ConditionFalse, reasonNotAccepted, "The rule is not accepted, so it has no effect.")
	}
	current := map[string]bool{}
	rejection := ""
	for _, e := range replicas {
		sum.Total += e.Total
		if e.Version != o.Version {
			continue
		}
		current[e.Name] = true
		sum.Acked += e.Acked
		sum.Nacked += e.Nacked
		if rejection == "" {
			rejection = e.Message
		}
	}
	missing := slices.ContainsFunc(o.Ready, func(name string) bool { return !current[name] })
	switch {
	case sum.Nacked > 0:
		return sum, set(metav1.ConditionFalse, reasonNACKed, fmt.Sprintf("A sidecar rejected the rule and goes on with what it had: %s", rejection))
	case missing || sum.Acked < sum.Total:
		return sum, set(metav1.ConditionFalse, reasonPending, "Not every connected sidecar has taken the rule yet; status.proxies counts them.")
	case sum.Total == 0:
		return sum, set(metav1.ConditionUnknown, reasonNoSidecars, "No sidecar is connected that could take the rule.")
	}
	return sum, set(metav1.ConditionTrue, reasonProgrammed, "Every connected sidecar has taken the rule.")
}
