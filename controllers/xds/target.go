package xds

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// unresolvedPrefix starts the names of clusters that nobody makes: what is sent to one fails.
const unresolvedPrefix = "unresolved"

// target is the cluster of what a rule names, for the requests of one service key. found is false when there is none; then
// the name is that of a cluster without endpoints, and a problem is noted. An empty subset is found: it is noted too.
func (c *compiler) target(rule *axlev1.TrafficRule, to axlev1.BackendTarget, fallback axlev1.Fallback, t *table) (cluster string, found bool) {
	p, port, bad := c.look(to, t)
	if bad.reason != "" {
		if fallback == axlev1.FallbackDefaultBackend {
			bad.text += fmt.Sprintf(" Its part goes to Service %s (fallback: DefaultBackend).", c.Service.Name)
			c.note(rule, t, bad)
			return ClusterName(c.Service.Namespace, c.Service.Name, t.port.Port), true
		}
		bad.text += " Its part fails."
		c.note(rule, t, bad)
		return fmt.Sprintf("%s/%s/%s/%d", unresolvedPrefix, c.Service.Namespace, to.Name, to.Port), false
	}
	whole := ClusterName(c.Service.Namespace, to.Name, port.Port)
	labels := labelsOf(to.Subset)
	if labels == "" {
		return whole, true
	}
	subset := Subset{Service: to.Name, Port: port.Port, Labels: labels}
	c.subsets[subset] = true
	if len(endpoints(port, p, c.Pod, labels)) > 0 {
		return subset.cluster(c.Service.Namespace), true
	}
	empty := problem{ReasonSubsetEmpty, fmt.Sprintf("No ready pod of Service %s, port %d, has the labels %s.", to.Name, port.Port, labels)}
	if fallback == axlev1.FallbackDefaultBackend {
		empty.text += " Its part goes to all pods of that Service (fallback: DefaultBackend)."
		c.note(rule, t, empty)
		return whole, true
	}
	empty.text += " Its part fails (fallback: Fail)."
	c.note(rule, t, empty)
	return subset.cluster(c.Service.Namespace), true
}

// look finds the Service and the port that a rule names; a problem's reason is empty when there is none.
func (c *compiler) look(to axlev1.BackendTarget, t *table) (Provider, corev1.ServicePort, problem) {
	p, ok := c.named(to.Name)
	if !ok {
		return p, corev1.ServicePort{}, problem{ReasonBackendNotFound, fmt.Sprintf("There is no Service %s.", to.Name)}
	}
	if to.Port == 0 {
		if p.Service.Name == c.Service.Name {
			return p, t.port, problem{}
		}
		port, ok := portOf(p.Service, protocolOf(t.port))
		if !ok {
			return p, port, problem{ReasonPortNotFound, fmt.Sprintf("Service %s has no TCP port.", to.Name)}
		}
		return c.speaks(p, port, t)
	}
	all := tcpPorts(p.Service)
	at := slices.IndexFunc(all, func(p corev1.ServicePort) bool { return p.Port == to.Port })
	if at < 0 {
		return p, corev1.ServicePort{}, problem{ReasonPortNotFound, fmt.Sprintf("Service %s has no TCP port %d.", to.Name, to.Port)}
	}
	return c.speaks(p, all[at], t)
}

// speaks checks that a backend's port does not speak another protocol than the service key's.
func (c *compiler) speaks(p Provider, port corev1.ServicePort, t *table) (Provider, corev1.ServicePort, problem) {
	have, want := protocolOf(port), protocolOf(t.port)
	if have == "" || want == "" || have == want {
		return p, port, problem{}
	}
	return p, port, problem{ReasonProtocolMismatch, fmt.Sprintf("Service %s speaks %s on port %d, requests for service key %s are %s: set parentRefs.port or the backend's port.",
		p.Service.Name, have, port.Port, t.key, want)}
}

// note files a problem under the parents through which the rule is in the table.
func (c *compiler) note(rule *axlev1.TrafficRule, t *table, p problem) {
	for i, parent := range rule.Spec.ParentRefs {
		if parent.Name == c.Service.Name && (parent.Port == 0 || parent.Port == t.port.Port) {
			at := place{nameOf(rule), i}
			c.problems[at] = append(c.problems[at], p)
		}
	}
}

// check notes the service keys that a rule names and none of its parents has.
func (c *compiler) check(rule *axlev1.TrafficRule, parent int) {
	known := map[string]bool{}
	for _, ref := range rule.Spec.ParentRefs {
		if p, ok := c.named(ref.Name); ok {
			for _, k := range keys(p.Service) {
				if ref.Port == 0 || ref.Port == k.port.Port {
					known[k.key] = true
				}
			}
		}
	}
	for i := range rule.Spec.Rules {
		for _, m := range rule.Spec.Rules[i].Matches {
			if m.Service != nil && !known[m.Service.Value] {
				at := place{nameOf(rule), parent}
				c.problems[at] = append(c.problems[at], problem{ReasonServiceUnknown, fmt.Sprintf(
					"No parent has the service key %s: list it in the annotation %s of the Service that provides it.", m.Service.Value, axlev1.ServicesAnnotation)})
			}
		}
	}
}
