package handover

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// donorShell calls the data plane for a DonorMachine and measures how long its connections stand still.
type donorShell struct {
	cfg    ServeConfig
	link   *link
	batch  uint64    // that was frozen last,
	frozen time.Time // when that began,
	conns  int       // and what it has
	stalls []stall
}

// stall is how long so many connections stood still together.
type stall struct {
	micros int64
	conns  int
}

// donate runs the donor's side over a connection whose peer has proved itself.
func donate(ctx context.Context, cfg ServeConfig, c *conn, from, to int64) Result {
	life := c.peerLife()
	d := &donorShell{cfg: cfg, link: newLink(c, cfg.RelayQueue)}
	need := int64(-1)
	if cfg.Descriptors != nil {
		need = cfg.Descriptors()
	}
	s := &session{
		m: NewDonorMachine(DonorConfig{
			Self:        hello(from, to, cfg.Build, cfg.Versions, cfg.Features, cfg.Required, cfg.Codecs),
			Descriptors: need, BatchLimit: cfg.BatchLimit, Deadlines: cfg.Deadlines,
		}),
		link: d.link, host: d.do, life: life, clock: cfg.Clock, log: cfg.Log, onPhase: cfg.OnPhase, onPlan: cfg.OnPlan,
	}
	d.link.stamp = d.stamp
	if cfg.tamper != nil {
		cfg.tamper(s)
	}
	r := s.run(ctx)
	r.FreezeP99Micros = d.p99()
	return r
}

func (d *donorShell) do(a Action) *Event {
	switch a.Kind {
	case ActHold:
		d.cfg.Donor.HoldConfig(true)
	case ActUnhold:
		d.link.withdraw()
		d.cfg.Donor.HoldConfig(false)
	case ActWarm:
		return d.warm()
	case ActPauseAccept:
		d.cfg.Donor.PauseAccept()
	case ActResumeAccept:
		d.cfg.Donor.ResumeAccept()
	case ActBeginMove:
		d.cfg.Donor.Split(a.Parts)
		d.cfg.Donor.BeginMove(d.link.relay)
	case ActEndMove:
		d.cfg.Donor.EndMove()
	case ActFreeze:
		return d.freeze(a)
	case ActThaw:
		d.link.withdraw()
		d.cfg.Donor.Thaw(a.ID)
	case ActRelease:
		d.stalls = append(d.stalls, stall{micros: d.cfg.Clock().Sub(d.frozen).Microseconds(), conns: d.conns})
		d.cfg.Donor.Release(a.ID)
	case ActRelayed:
		for _, r := range a.Message.Relays {
			d.cfg.Donor.Relayed(r)
		}
	}
	return nil
}

func (d *donorShell) warm() *Event {
	e := &Event{Kind: EventWarmed}
	state, err := d.cfg.Donor.Warm()
	if err != nil {
		e.Err = err.Error()
		return e
	}
	e.Warm = Warm{State: state, Sockets: d.cfg.Sockets()}
	if n := len(e.Warm.Sockets); n > MaxSockets {
		e.Err = fmt.Sprintf("%d listening sockets: a handover carries %d", n, MaxSockets)
	} else if len(state) > maxBody-MaxSockets*64 {
		e.Err = fmt.Sprintf("%d bytes of state: a handover carries %d", len(state), maxBody-MaxSockets*64)
	}
	return e
}

func (d *donorShell) freeze(a Action) *Event {
	if d.batch != a.ID { // else it is a further part
		d.batch, d.frozen, d.conns = a.ID, d.cfg.Clock(), 0
	}
	b, err := d.cfg.Donor.Freeze(a.ID, a.Limit)
	e := &Event{Kind: EventFrozen, Batch: b}
	e.Batch.ID = a.ID
	d.conns += len(b.Conns)
	if err != nil {
		e.Err = err.Error()
	}
	return e
}

// stamp adds to the farewell what only this shell has measured.
func (d *donorShell) stamp(m *Message) {
	if m.Kind == KindBye {
		m.Bye.FreezeP99Micros = d.p99()
	}
}

// p99 is how long the connection at the 99th percentile stood still, in microseconds.
func (d *donorShell) p99() int64 {
	all := slices.SortedFunc(slices.Values(d.stalls), func(a, b stall) int { return cmp.Compare(a.micros, b.micros) })
	total := 0
	for _, s := range all {
		total += s.conns
	}
	seen := 0
	for _, s := range all {
		seen += s.conns
		if seen*100 >= total*99 {
			return s.micros
		}
	}
	return 0
}
