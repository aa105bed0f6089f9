package xds

import (
	"cmp"
	"slices"
	"strings"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"k8s.io/apimachinery/pkg/types"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Reason says in a word why a condition of a TrafficRule is as it is.
type Reason string

// Reasons of the conditions Accepted and ResolvedRefs.
const (
	ReasonAccepted         Reason = "Accepted"
	ReasonInvalidMatch     Reason = "InvalidMatch"
	ReasonNoMatchingParent Reason = "NoMatchingParent"
	ReasonConflicted       Reason = "Conflicted"
	ReasonTooManyRoutes    Reason = "TooManyRoutes"

	ReasonResolvedRefs     Reason = "ResolvedRefs"
	ReasonBackendNotFound  Reason = "BackendNotFound"
	ReasonPortNotFound     Reason = "PortNotFound"
	ReasonProtocolMismatch Reason = "ProtocolMismatch"
	ReasonServiceUnknown   Reason = "ServiceKeyNotFound"
	ReasonSubsetEmpty      Reason = "SubsetEmpty"
)

// Finding is one condition of a rule for one parent.
type Finding struct {
	OK      bool
	Reason  Reason
	Message string
}

// Report is what became of a rule for one of its parents when a Service's resources were made.
type Report struct {
	Rule       types.NamespacedName
	Generation int64
	// Parent is the index in spec.parentRefs.
	Parent             int
	Accepted, Resolved Finding
	// Keys are the service keys whose routes the rule is in, Clusters those that its upstream is in.
	Keys, Clusters []string
}

// parts are the resources that sidecars have to take for the rule to be in force.
func (r Report) parts() []part {
	var all []part
	for _, key := range r.Keys {
		all = append(all, part{resource.VirtualHostType, key})
	}
	for _, name := range r.Clusters {
		all = append(all, part{resource.ClusterType, name})
	}
	return all
}

// part is one resource that a rule is in.
type part struct{ kind, name string }

// maxProblems bounds how many problems one message names.
const maxProblems = 8

// problem is something that a rule refers to and that cannot take requests.
type problem struct {
	reason Reason
	text   string
}

// resolved sums problems up. The reason is that of the first one.
func resolved(all []problem) Finding {
	if len(all) == 0 {
		return Finding{OK: true, Reason: ReasonResolvedRefs, Message: "Everything that the rule refers to is there."}
	}
	slices.SortFunc(all, func(a, b problem) int { return cmp.Or(cmp.Compare(a.reason, b.reason), cmp.Compare(a.text, b.text)) })
	all = slices.Compact(all)
	texts := make([]string, 0, maxProblems+1)
	for i, p := range all {
		if i == maxProblems {
			texts = append(texts, "There are more.")
			break
		}
		texts = append(texts, p.text)
	}
	return Finding{Reason: all[0].reason, Message: strings.Join(texts, " ")}
}

// Orphans reports rules for a parent Service that does not exist.
func Orphans(service types.NamespacedName, rules []*axlev1.TrafficRule) []Report {
	missing := Finding{Reason: ReasonNoMatchingParent, Message: "There is no Service " + service.Name + " in namespace " + service.Namespace + "."}
	var all []Report
	for _, rule := range rules {
		for i, p := range rule.Spec.ParentRefs {
			if p.Name == service.Name {
				all = append(all, Report{Rule: nameOf(rule), Generation: rule.Generation, Parent: i, Accepted: missing, Resolved: missing})
			}
		}
	}
	return all
}

func nameOf(rule *axlev1.TrafficRule) types.NamespacedName {
	return types.NamespacedName{Namespace: rule.Namespace, Name: rule.Name}
}
