package static

import (
	"cmp"
	"fmt"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/config"
)

// percent is what a Mirror's numerator counts when it says nothing else.
const percent = 100

func (t *translator) route(at string, r bootstrap.Route) {
	if r.Service == "" {
		t.fault("%s.service: it is missing; %q takes whatever nothing else matches", at, "*")
		return
	}
	host := t.snap.Hosts[r.Service]
	if host == nil {
		host = &config.Host{Name: r.Service}
		t.snap.Hosts[r.Service] = host
	}
	if n := len(host.Routes); n > 0 && len(host.Routes[n-1].Matches) == 0 {
		t.fault("%s.service: %q has a route already that takes every request: this one is never reached", at, r.Service)
		return
	}
	out := config.Route{
		Name: cmp.Or(r.Name, r.Service), Cluster: r.Cluster, Status: r.Status, Attempts: r.Attempts, Sticky: r.Sticky,
		Timeout: t.duration(at+".timeout", r.Timeout, 0), Hash: hashKeys(r.Hash), Limit: t.limit(at+".limit", r.Limit),
		Retry: t.retry(at+".retry", r.Retry), Fault: t.faultOf(at+".fault", r.Fault), Edit: t.edit(at+".edit", r.Edit),
		Priority: t.priority(at+".priority", r.Priority), PriorityHeader: r.PriorityHeader,
	}
	if d := r.Redirect; d != nil {
		out.Redirect = &config.Redirect{
			Scheme: d.Scheme, Host: d.Host, Port: d.Port, Prefix: d.Prefix, With: d.Path, DropQuery: d.DropQuery, Status: cmp.Or(d.Status, movedPermanently),
		}
	}
	for i, m := range r.Match {
		out.Matches = append(out.Matches, t.match(fmt.Sprintf("%s.match[%d]", at, i), m))
	}
	for _, s := range r.Split {
		out.Split = append(out.Split, config.Share{Cluster: s.Cluster, Weight: s.Weight})
	}
	if m := r.Mirror; m != nil {
		out.Mirror = &config.Mirror{Cluster: m.Cluster, Numerator: m.Numerator, Denominator: cmp.Or(m.Denominator, percent)}
	}
	host.Routes = append(host.Routes, out)
}

// match turns a condition around: config has a kind and a value. Validate judges the rest.
func (t *translator) match(at string, m bootstrap.Match) config.Match {
	out := config.Match{Name: m.Header, Invert: m.Invert}
	if m.Query != "" {
		out.Name = config.QueryPrefix + m.Query
	}
	if (m.Header == "") == (m.Query == "") {
		t.fault("%s: it needs one of header and query", at)
	}
	set := 0
	if m.Present {
		set++
	}
	if m.Range != nil {
		set++
		out.Kind, out.From, out.To = config.MatchRange, m.Range.From, m.Range.To
	}
	for _, way := range []struct {
		kind  config.MatchKind
		value string
	}{
		{config.MatchExact, m.Exact}, {config.MatchPrefix, m.Prefix}, {config.MatchSuffix, m.Suffix}, {config.MatchContains, m.Contains},
		{config.MatchRegex, m.Regex},
	} {
		if way.value != "" {
			set++
			out.Kind, out.Value = way.kind, way.value
		}
	}
	if set != 1 {
		t.fault("%s: it needs one of present, exact, prefix, suffix, contains, regex and range, and has %d", at, set)
	}
	return out
}
