package xds

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// maxRoutes bounds the routes that rules may put into one service key. Sidecars take 1,000, the default one included.
const maxRoutes = 999

// compiled is what the rules of a Service became.
type compiled struct {
	hosts     []*routev3.VirtualHost
	reports   []Report
	subsets   []Subset
	upstreams map[int32]InForce // by port
}

// candidate is one match of a rule for one service key.
type candidate struct {
	match axlev1.Match
	rule  *axlev1.TrafficRule
	at    int // index of the rule in spec.rules
	nth   int // index of the match in it
}

// table is a service key and what rules put into it.
type table struct {
	keyed
	all    []candidate
	claims map[string]*axlev1.TrafficRule // by what a match says
}

// compile merges the rules of a Service into the virtual hosts of its service keys. A rule applies to a parent entirely or
// not at all; the older rule comes first.
func compile(s *Scene) compiled {
	tables := make([]*table, 0)
	for _, k := range keys(s.Service) {
		tables = append(tables, &table{keyed: k, claims: map[string]*axlev1.TrafficRule{}})
	}
	rules := slices.Clone(s.Rules)
	slices.SortStableFunc(rules, older)
	c := &compiler{
		Scene: s, subsets: map[Subset]bool{}, problems: map[place][]problem{},
		owners: map[int32]*axlev1.TrafficRule{}, upstreams: map[int32]InForce{},
	}
	for _, rule := range rules {
		invalid := invalid(rule)
		for i, parent := range rule.Spec.ParentRefs {
			if parent.Name == s.Service.Name {
				c.attach(rule, i, invalid, tables)
			}
		}
	}
	out := compiled{reports: c.reports, upstreams: c.upstreams}
	for _, t := range tables {
		out.hosts = append(out.hosts, c.host(t))
	}
	for i := range out.reports {
		r := &out.reports[i]
		if r.Accepted.OK {
			r.Resolved = resolved(c.problems[place{r.Rule, r.Parent}])
		}
	}
	for subset := range c.subsets {
		out.subsets = append(out.subsets, subset)
	}
	slices.SortFunc(out.subsets, func(a, b Subset) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Labels, b.Labels))
	})
	return out
}

// attach puts a rule into the tables of one of its parents, if it may.
func (c *compiler) attach(rule *axlev1.TrafficRule, parent int, invalid string, tables []*table) {
	report := Report{Rule: nameOf(rule), Generation: rule.Generation, Parent: parent}
	refuse := func(reason Reason, message string) {
		report.Accepted = Finding{Reason: reason, Message: message}
		report.Resolved, report.Keys, report.Clusters = report.Accepted, nil, nil
	}
	var mine []*table
	port := rule.Spec.ParentRefs[parent].Port
	for _, t := range tables {
		if port == 0 || t.port.Port == port {
			mine = append(mine, t)
		}
	}
	ports := c.parentPorts(port)
	switch {
	case invalid != "":
		refuse(ReasonInvalidMatch, invalid)
	case len(ports) == 0, len(mine) == 0 && len(rule.Spec.Rules) > 0:
		refuse(ReasonNoMatchingParent, c.noKeys(port))
	default:
		if message, ok := c.claimUpstream(rule, ports); !ok {
			refuse(ReasonConflicted, message)
			break
		}
		if reason, message := c.claim(rule, parent, mine, &report); reason != "" {
			refuse(reason, message)
			break
		}
		c.own(rule, parent, ports, &report)
		report.Accepted = Finding{OK: true, Reason: ReasonAccepted, Message: "The rule is in force."}
	}
	c.reports = append(c.reports, report)
}

// claim takes the tables for a rule, or says why it cannot; then nothing has changed.
func (c *compiler) claim(rule *axlev1.TrafficRule, parent int, tables []*table, report *Report) (Reason, string) {
	type want struct {
		t    *table
		says string
		c    candidate
	}
	var wants []want
	for _, t := range tables {
		n := 0
		for _, cand := range candidates(rule, t) {
			says := signature(cand.match)
			switch other := t.claims[says]; {
			case other == rule: // another of its parents, or its own earlier match, says the same
				continue
			case other != nil:
				return ReasonConflicted, fmt.Sprintf("TrafficRule %s is older and has the same match for service key %s: change or remove one of them.", other.Name, t.key)
			}
			wants = append(wants, want{t, says, cand})
			n++
		}
		if len(t.all)+n > maxRoutes {
			return ReasonTooManyRoutes, fmt.Sprintf("Service key %s would have more than %d routes: remove older rules or matches.", t.key, maxRoutes)
		}
		if n > 0 || slices.ContainsFunc(t.all, func(x candidate) bool { return x.rule == rule }) {
			report.Keys = append(report.Keys, t.key)
		}
	}
	if len(report.Keys) == 0 && len(rule.Spec.Rules) > 0 {
		return ReasonNoMatchingParent, c.noMatch(rule, tables)
	}
	for _, w := range wants {
		if w.t.claims[w.says] == nil {
			w.t.claims[w.says] = rule
			w.t.all = append(w.t.all, w.c)
		}
	}
	c.check(rule, parent)
	return "", ""
}

// noMatch says why none of a parent's service keys is for a rule.
func (c *compiler) noMatch(rule *axlev1.TrafficRule, tables []*table) string {
	why := fmt.Sprintf("No match names a service key of Service %s: it has %s. List others in its annotation %s.",
		c.Service.Name, listed(tables), axlev1.ServicesAnnotation)
	for i := range rule.Spec.Rules {
		if r := &rule.Spec.Rules[i]; slices.ContainsFunc(tables, (*table).rpc) && (r.Redirect != nil || slices.ContainsFunc(r.Matches, onlyHTTP)) {
			return why + " Redirects, paths and query parameters are only for those whose port speaks HTTP."
		}
	}
	return why
}

// noKeys says why a parent has no service key for a rule.
func (c *compiler) noKeys(port int32) string {
	all := tcpPorts(c.Service)
	for _, p := range all {
		if p.Port == port {
			return fmt.Sprintf("No service key of Service %s goes to its port %d: leave parentRefs.port out, or set the port's appProtocol.", c.Service.Name, port)
		}
	}
	if len(all) == 0 {
		return fmt.Sprintf("Service %s has no TCP port.", c.Service.Name)
	}
	return fmt.Sprintf("Service %s has no TCP port %d.", c.Service.Name, port)
}

func listed(tables []*table) string {
	const most = 8
	var all []string
	for _, t := range tables[:min(len(tables), most)] {
		all = append(all, t.key)
	}
	if len(tables) > most {
		all = append(all, "others")
	}
	return strings.Join(all, ", ")
}

// candidates are the matches of a rule that can fit requests for a service key.
func candidates(rule *axlev1.TrafficRule, t *table) []candidate {
	var all []candidate
	for at := range rule.Spec.Rules {
		matches := rule.Spec.Rules[at].Matches
		if len(matches) == 0 {
			matches = []axlev1.Match{{}}
		}
		for nth, m := range matches {
			if m.Service != nil && m.Service.Value != t.key {
				continue
			}
			if t.rpc() && (rule.Spec.Rules[at].Redirect != nil || onlyHTTP(m)) {
				continue
			}
			all = append(all, candidate{match: normal(m, t), rule: rule, at: at, nth: nth})
		}
	}
	return all
}

// precedence orders the routes of a service key: the match that names the key; the exact path, the longest prefix, a regular
// expression, none; the same of the method; more headers, parameters, labels of the caller; the older rule; its name; its order.
func precedence(a, b candidate) int {
	named := func(c candidate) int {
		if c.match.Service != nil {
			return 1
		}
		return 0
	}
	path, pathLength := pathRank(a.match.Path)
	otherPath, otherPathLength := pathRank(b.match.Path)
	rank, length := methodRank(a.match.Method)
	otherRank, otherLength := methodRank(b.match.Method)
	return cmp.Or(
		cmp.Compare(named(b), named(a)),
		cmp.Compare(otherPath, path),
		cmp.Compare(otherPathLength, pathLength),
		cmp.Compare(otherRank, rank),
		cmp.Compare(otherLength, length),
		cmp.Compare(len(b.match.Headers), len(a.match.Headers)),
		cmp.Compare(len(b.match.QueryParams), len(a.match.QueryParams)),
		cmp.Compare(sourceLabels(b.match), sourceLabels(a.match)),
		older(a.rule, b.rule),
		cmp.Compare(a.at, b.at),
		cmp.Compare(a.nth, b.nth),
	)
}

// older orders rules by age, then by name.
func older(a, b *axlev1.TrafficRule) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
