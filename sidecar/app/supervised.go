package app

import (
	"context"
	"time"

	"github.com/axlemesh/axle/sidecar/supervisor"
)

// beatEvery is how often the supervisor hears that the loops turn.
const beatEvery = 2 * time.Second

// tellSupervisor says what the end of this process would mean now.
func (a *app) tellSupervisor() {
	if a.Supervisor == nil {
		return
	}
	a.mu.Lock()
	gave := a.gave
	a.mu.Unlock()
	p := supervisor.Starting
	switch a.life.phase {
	case over:
		if gave {
			p = supervisor.Gave
		}
	case taking, lingering:
		p = supervisor.Candidate
	case serving, leaving:
		p = supervisor.Serving
	}
	if err := a.Supervisor.Phase(p); err != nil {
		a.Log.Error(err, "The supervisor does not listen")
	}
}

// beat tells the supervisor that the loops turn. A loop that hangs keeps Turn waiting, and then nothing is told.
func (a *app) beat(ctx context.Context) {
	if a.Supervisor == nil {
		return
	}
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	for {
		a.engine.Turn()
		if err := a.Supervisor.Beat(); err != nil {
			a.Log.Error(err, "The supervisor does not listen")
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// tellGave makes sure that this process is not started again, whatever happens to it now: its successor serves.
func (a *app) tellGave() {
	if a.Supervisor == nil {
		return
	}
	if err := a.Supervisor.Phase(supervisor.Gave); err != nil {
		a.Log.Error(err, "The supervisor does not listen")
	}
}
