package app

import (
	"context"
	"slices"
	"time"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	"github.com/axlemesh/axle/sidecar/backoff"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/control"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/xds"
)

// keepXDS is the key under which the supervisor keeps the last good configuration.
const keepXDS = "xds"

// follow connects to the operator: commands and reports over the control channel, configuration over ADS.
func (a *app) follow(ctx context.Context) error {
	retry := backoff.Policy{First: 250 * time.Millisecond, Max: 15 * time.Second, Random: a.Random}
	cfg := control.Config{
		Operator: *a.boot.Operator, Token: a.JoinToken, Node: a.boot.Node, Build: a.Build,
		HandoverMin: handover.MinVersion, HandoverMax: handover.MaxVersion,
		Kept: a.known(), Report: a.report, Desired: a.desired, Retry: retry, Now: a.Now, Log: a.Log.WithName("control"),
	}
	if a.Supervisor != nil {
		cfg.Keep = a.keep
	}
	if a.boot.Slot != nil {
		cfg.TokenFile = a.boot.Slot.TokenFile
	}
	var err error
	if a.control, err = control.New(cfg); err != nil {
		return err
	}
	a.xds = xds.New(xds.Config{
		NodeID: a.boot.Node.ID, Build: a.Build, Conn: a.control.Conn(), Retry: retry, Now: a.Now,
		Log: a.Log.WithName("xds"), Deliver: a.deliver,
	})
	if b := cfg.Kept[keepXDS]; b != nil {
		if err := a.xds.Import(b); err != nil {
			a.Log.Error(err, "The kept configuration is of no use")
		}
	}
	a.spawn(func() { _ = a.control.Run(ctx) }) // ends with ctx, or with the last report
	a.spawn(func() {
		_ = a.xds.Run(ctx) // ends with ctx
		_ = a.control.Close()
	})
	return nil
}

func (a *app) desired(d *controlv1.Desired) {
	w := wish{
		generation: d.GetGeneration(), predecessor: d.GetPredecessor(),
		begin: d.GetBegin(), leave: d.GetLeave(), key: string(d.GetHandoverKey()),
	}
	a.post(event{wish: &w})
}

// deliver takes a configuration from the control plane.
func (a *app) deliver(s *config.Snapshot, lastGood xds.LastGood) {
	a.mu.Lock()
	a.lastGood = lastGood.All
	a.mu.Unlock()
	if a.Supervisor != nil {
		if err := a.keepConfig(lastGood); err != nil {
			a.Log.Error(err, "A restart of the proxy would not find its configuration")
		}
	}
	a.gate.offer(s)
	if len(s.Listeners) > 0 {
		a.post(event{configured: true})
	}
}

// report is the whole current state, for the operator.
func (a *app) report() (*controlv1.State, *controlv1.HandoverResult) {
	s := a.engine.Stats()
	a.mu.Lock()
	last := a.last
	st := &controlv1.State{Phase: a.reportedPhase()}
	a.mu.Unlock()
	if st.Phase != controlv1.State_STARTING && st.Phase != controlv1.State_LEFT {
		st.Listening = meshPorts(a.engine.Snapshot())
	}
	st.Carrying = s.Downstream[config.Outbound] > 0
	st.Connections = int64(s.Downstream[config.Inbound] + s.Downstream[config.Outbound])
	st.Requests = int64(s.Requests[config.Inbound] + s.Requests[config.Outbound])
	st.Errors = int64(s.Errors[config.Inbound] + s.Errors[config.Outbound])
	st.Lost = int64(s.Lost)
	st.Restarts, st.Term = a.Restarts, a.slot.term()
	for _, n := range s.Failed {
		st.Errors += int64(n)
	}
	if last == nil {
		return st, nil
	}
	return st, &controlv1.HandoverResult{
		From: last.From, To: last.To, Ok: last.OK, Step: last.Step, Reason: last.Reason, Moved: last.Moved, Lost: last.Lost,
		FreezeP99Micros: last.FreezeP99Micros, DurationMicros: last.DurationMicros,
	}
}

// reportedPhase translates the phase; mu is held. After a handover the last word is still HANDING_OVER: the successor
// says that it serves, and the ports stay open all the time.
func (a *app) reportedPhase() controlv1.State_Phase {
	switch {
	case a.phase == over && a.gave:
		return controlv1.State_HANDING_OVER
	case a.phase == over && a.code == 0:
		return controlv1.State_LEFT
	case a.phase == leaving:
		return controlv1.State_LEAVING
	case a.phase == serving && a.giving:
		return controlv1.State_HANDING_OVER
	case a.phase == serving:
		return controlv1.State_SERVING
	}
	return controlv1.State_STARTING
}

// meshPorts are the ports of the inbound listeners that can serve.
func meshPorts(s *config.Snapshot) []int32 {
	var ports []int32
	for _, l := range s.Listeners {
		if l.Direction == config.Inbound && !l.TLS.Shut() {
			ports = append(ports, int32(l.Address.Port()))
		}
	}
	slices.Sort(ports)
	return ports
}
