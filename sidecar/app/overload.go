package app

import (
	"context"
	"time"

	"github.com/axlemesh/axle/sidecar/overload"
	"github.com/axlemesh/axle/sidecar/static"
)

// guard looks at what this process is short of, and has the data plane do something about it. It runs beside the loops, which
// ask nothing of it but two numbers.
func (a *app) guard(ctx context.Context) {
	cfg, bound, err := static.Overload(a.boot)
	if err != nil {
		a.Log.Error(err, "The sidecar does not protect itself") // it was checked before
		return
	}
	m := overload.New(cfg)
	r := overload.Reader{Bound: bound, First: cfg.Steps[overload.Memory].First(), Busy: a.engine.Busy()}
	t := time.NewTimer(cfg.Interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
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

// handing says that a handover goes on, to or from this process.
func (a *app) handing() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.giving || a.phase == taking
}
