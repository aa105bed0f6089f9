package static

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/codec/change"
	"github.com/axlemesh/axle/sidecar/config"
)

// movedPermanently is what a Redirect answers with when it says nothing else.
const movedPermanently = 301

// reasons are the words of Retry.RetryOn that stand for a set of config's own; busy stands for statuses.
var reasons = map[string]config.RetryOn{
	"connect-failure": config.RetryConnect,
	"reset":           config.RetryReset,
	"gateway-error":   config.RetryGateway | config.RetryReset | config.RetryConnect,
	"5xx":             config.RetryServerError | config.RetryReset | config.RetryConnect,
	"busy":            0,
}

// busy are the statuses of a server that takes no more for now.
var busy = []int{429, 503}

func (t *translator) retry(at string, r *bootstrap.Retry) *config.Retry {
	if r == nil {
		return nil
	}
	out := &config.Retry{
		Statuses: r.Statuses, AnyMethod: r.AnyMethod, PerTry: t.duration(at+".perTry", r.PerTry, 0), Hedge: r.Hedge,
		Backoff: t.duration(at+".backoff", r.Backoff, 0), MaxBackoff: t.duration(at+".maxBackoff", r.MaxBackoff, 0),
		BudgetPercent: r.BudgetPercent, BudgetMin: r.BudgetMin,
	}
	for i, word := range r.RetryOn {
		on, known := reasons[word]
		if !known {
			t.fault("%s.retryOn[%d]: %q is none of connect-failure, reset, gateway-error, 5xx and busy", at, i, word)
		}
		if out.On |= on; word == "busy" {
			out.Statuses = append(out.Statuses, busy...)
		}
	}
	return out
}

func (t *translator) faultOf(at string, f *bootstrap.Fault) *config.Fault {
	if f == nil {
		return nil
	}
	out := &config.Fault{}
	if d := f.Delay; d != nil {
		out.Delayed = config.Fraction{Numerator: d.Numerator, Denominator: cmp.Or(d.Denominator, percent)}
		if d.Duration == "" {
			t.fault("%s.delay.duration: it is missing", at)
		}
		out.Delay = t.duration(at+".delay.duration", d.Duration, 0)
	}
	if a := f.Abort; a != nil {
		out.Aborted = config.Fraction{Numerator: a.Numerator, Denominator: cmp.Or(a.Denominator, percent)}
		if out.Status = a.Status; a.Status == 0 {
			t.fault("%s.abort.status: it is missing", at)
		}
	}
	return out
}

func (t *translator) limit(at string, l *bootstrap.Limit) config.Limit {
	if l == nil {
		return config.Limit{}
	}
	return config.Limit{Burst: l.Burst, Tokens: cmp.Or(l.Tokens, 1), Every: t.duration(at+".every", l.Every, time.Second)}
}

func (t *translator) edit(at string, e *bootstrap.Edit) *config.Edit {
	if e == nil {
		return nil
	}
	return &config.Edit{
		Request: t.changes(at+".request", e.Request), Response: t.changes(at+".response", e.Response),
		Host: e.Host, Prefix: e.Prefix, With: e.Path,
	}
}

func (t *translator) changes(at string, all []bootstrap.Change) []change.Field {
	var out []change.Field
	for i, c := range all {
		set := 0
		one := change.Field{Value: c.Value}
		for _, way := range []struct {
			op   change.Op
			name string
		}{{change.Set, c.Set}, {change.Add, c.Add}, {change.Absent, c.Default}, {change.Remove, c.Remove}} {
			if way.name != "" {
				set++
				one.Op, one.Name = way.op, way.name
			}
		}
		if set != 1 {
			t.fault("%s: it needs one of set, add, default and remove, and has %d", fmt.Sprintf("%s[%d]", at, i), set)
			continue
		}
		out = append(out, one)
	}
	return out
}

// speakHTTP reports what only HTTP has where every request that is routed is Bolt's: it would never happen.
func (t *translator) speakHTTP(s *bootstrap.Static) {
	isBolt := func(l bootstrap.Listener) bool { return l.Protocol == bootstrap.Bolt }
	routed := slices.DeleteFunc(slices.Clone(s.Listeners), func(l bootstrap.Listener) bool { return l.Cluster != "" })
	if len(routed) == 0 || slices.ContainsFunc(routed, func(l bootstrap.Listener) bool { return !isBolt(l) }) {
		return
	}
	for i, r := range s.Routes {
		if r.Edit != nil || r.Redirect != nil {
			t.fault("static.routes[%d]: edit and redirect are for HTTP, and every listener that is routed is bolt: its requests go on as they came", i)
		}
	}
}
