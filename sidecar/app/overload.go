package app

import (
	"cmp"
	"context"
	"reflect"
	"time"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/overload"
	"github.com/axlemesh/axle/sidecar/static"
)

// guard looks at what this process is short of, and has the data plane do something about it. It runs beside the loops, which
// ask nothing of it but two numbers.
func (a *app) guard(ctx context.Context) {
	r := overload.Reader{Busy: a.engine.Busy()}
	m := a.manager(&r, nil)
	var asked *bootstrap.Overload
	t := time.NewTimer(m.Interval())
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.bounds:
			next := a.engine.Snapshot().Overload
			if reflect.DeepEqual(next, asked) {
				continue
			}
			asked = next
			m = a.manager(&r, asked)
		case <-t.C:
		}
		v := m.Look(a.Clock(), r.Read(a.Clock()), a.handing())
		a.engine.Relieve(v.Actions)
		for _, c := range v.Changes {
			a.Log.Info("Overload", "resource", c.Resource.String(), "is", c.To.String(), "was", c.From.String(), "percent", int(c.Part*100))
		}
		a.mu.Lock()
		a.overload = v
		a.mu.Unlock()
		t.Reset(v.Next)
	}
}

// manager makes the one that does what o says, or the bootstrap when o is nil, and lets r read for it. What another has decided ends.
func (a *app) manager(r *overload.Reader, o *bootstrap.Overload) *overload.Manager {
	b := *a.boot
	b.Overload = cmp.Or(o, b.Overload)
	cfg, bound, err := static.Overload(&b)
	if err != nil { // it was checked before
		a.Log.Error(err, "The sidecar protects itself by the defaults")
		cfg = overload.Config{Interval: overload.DefaultInterval, Steps: overload.Defaults()}
	}
	r.Bound, r.First = bound, cfg.Steps[overload.Memory].First()
	return overload.New(cfg)
}

// largeBytes is how much large frames may hold: a quarter of what the process may have, or of what there is when it was not told.
func largeBytes(limit int64, r *overload.Reader) int64 { return cmp.Or(limit, r.Total()) / 4 }

// handing says that a handover goes on, to or from this process.
func (a *app) handing() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.giving || a.phase == taking
}
