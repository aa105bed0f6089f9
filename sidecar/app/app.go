// Package app is the life of one sidecar process: it puts the data plane, the handover, the control plane's clients and
// the local endpoints together, decides when this process serves, hands over, leaves or ends, and carries that out.
//
// What happens next is decided by a pure machine (life); one goroutine feeds it and acts. Everything that takes time runs
// beside it and reports back as an event.
package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/accesslog"
	"github.com/axlemesh/axle/sidecar/admin"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/control"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/overload"
	"github.com/axlemesh/axle/sidecar/proxy"
	"github.com/axlemesh/axle/sidecar/sockets"
	"github.com/axlemesh/axle/sidecar/static"
	"github.com/axlemesh/axle/sidecar/supervisor"
	"github.com/axlemesh/axle/sidecar/trace"
	"github.com/axlemesh/axle/sidecar/xds"
)

const (
	// farewell bounds what a process does after it has decided to end: the last report, and answers on local endpoints.
	farewell = 2 * time.Second
	// emptyPoll is how often it looks whether everything has been taken.
	emptyPoll = 10 * time.Millisecond
	// appPoll is how often the application's ports are looked for after SIGTERM.
	appPoll = 250 * time.Millisecond
)

// app is one running process.
type app struct {
	Options
	boot    *bootstrap.Bootstrap
	life    life
	events  chan event
	set     *sockets.Set
	engine  *proxy.Engine
	log     *accesslog.Writer // nil when nobody can ask for lines
	gate    *gate
	front   *front
	spans   *trace.Exporter // nil when nobody can ask for spans
	control *control.Client // nil without an operator
	xds     *xds.Client     // likewise
	slot    *inSlot         // nil without slots
	timer   *time.Timer
	bounds  chan struct{} // tells that other ones may be in force; see guard
	stop    context.CancelFunc
	quit    chan struct{} // closed when nobody takes events any more
	tasks   sync.WaitGroup
	end     *End

	mu        sync.Mutex // what other goroutines read
	phase     phase
	giving    bool // a handover from here goes on
	gave      bool // it went well
	code      int  // of the end
	offered   action
	last      *handover.Result
	handovers admin.Handovers
	lastGood  []byte // last good xDS configuration
	overload  overload.Verdict
}

// Run lives one life. The error is for what kept it from beginning.
func Run(ctx context.Context, o Options) (End, error) {
	a, err := prepare(o)
	if err != nil {
		return End{Code: supervisor.ExitConfig}, err
	}
	ctx, a.stop = context.WithCancel(ctx)
	defer a.stop()
	if err := a.begin(ctx); err != nil {
		a.stop()
		a.tasks.Wait()
		a.engine.Stop()
		a.closeLog(ctx)
		a.set.Release()
		return End{Code: supervisor.ExitConfig}, err
	}
	return a.live(ctx), nil
}

// prepare builds everything and starts nothing.
func prepare(o Options) (*app, error) {
	a := &app{Options: o, events: make(chan event, 64), bounds: make(chan struct{}, 1), quit: make(chan struct{})}
	a.boot = &a.Bootstrap
	a.life = life{
		own: a.boot.Node.Generation, operated: a.boot.Operator != nil, takeover: o.Takeover,
		restarted: len(o.Kept.Sockets) > 0, inPlace: a.boot.Node.InPlace,
	}
	if a.boot.Slot != nil {
		a.slot = newInSlot(*a.boot.Slot, o.Log.WithName("slot"))
		a.life.slot, a.life.restarted = true, holdsLock(o.Kept.Sockets)
	}
	a.timer = time.NewTimer(time.Hour)
	a.timer.Stop()
	if o.Takeover {
		if err := a.orderAfter(); err != nil {
			return nil, err
		}
	}
	o.Log = o.Log.WithValues("generation", a.boot.Node.Generation)
	a.Log = o.Log
	a.set = &sockets.Set{Log: o.Log.WithName("sockets")}
	if o.Supervisor != nil {
		a.set.Store = o.Supervisor
	}
	for _, s := range o.Kept.Sockets {
		if err := a.set.Adopt(s.Key, s.FD); err != nil {
			o.Log.Error(err, "A kept socket is of no use; it is bound anew", "key", s.Key)
		}
	}
	a.spans = a.exporter()
	var err error
	if a.log, err = accessLog(&o); err != nil {
		return nil, err
	}
	a.engine, err = proxy.New(proxy.Options{
		Loops: a.boot.Loops, Generation: a.boot.Node.Generation, NodeID: a.boot.Node.ID,
		Namespace: a.boot.Node.Namespace, Zone: a.boot.Node.Zone, LargeBytes: largeBytes(a.boot.MemoryLimitBytes, &overload.Reader{}), Tracing: a.tracing(), AccessLog: a.log, Sockets: a.set, Clock: o.Clock, Log: o.Log.WithName("proxy"),
	})
	if err != nil {
		return nil, err
	}
	a.gate = newGate(a.apply, o.Log.WithName("config"))
	a.front = newFront(a.set, o.Log.WithName("front"))
	a.addPages()
	return a, nil
}

// begin starts the loops and whatever brings configuration.
func (a *app) begin(ctx context.Context) error {
	if err := a.engine.Start(); err != nil {
		return err
	}
	if a.spans != nil {
		a.spawn(func() { a.spans.Run(ctx) })
	}
	if a.log != nil {
		go a.log.Run() // ends with Close
	}
	a.spawn(func() { a.gate.run(ctx) })
	a.spawn(func() { a.beat(ctx) })
	a.spawn(func() { a.watchLeft(ctx) })
	a.spawn(func() { a.guard(ctx) })
	a.spawn(func() { a.watchCertificates(ctx) })
	if a.slot != nil {
		a.spawn(func() { a.slot.keeper.Run(ctx) })
	}
	if a.boot.Operator == nil {
		snap, err := static.Snapshot(a.boot.Static)
		if err != nil {
			return err
		}
		a.gate.offer(snap)
		a.post(event{configured: true})
		return nil
	}
	return a.follow(ctx)
}

// live feeds the machine until the process is to end.
func (a *app) live(ctx context.Context) End {
	a.step(ctx, event{begun: true})
	for a.end == nil {
		select {
		case <-ctx.Done():
			a.finish(action{why: "stopped: " + context.Cause(ctx).Error()})
		case e := <-a.events:
			a.step(ctx, e)
		case <-a.timer.C:
			a.step(ctx, event{deadline: true})
		case grace := <-a.Term:
			a.Log.Info("Asked to end", "grace", grace.String())
			a.step(ctx, event{term: &grace})
		case <-a.Unserved:
			a.step(ctx, event{unserved: true})
		}
	}
	return *a.end
}

// step lets the machine decide, and acts.
func (a *app) step(ctx context.Context, e event) {
	before := a.life.phase
	acts := a.life.step(e)
	a.mu.Lock()
	a.phase = a.life.phase
	a.mu.Unlock()
	if a.life.phase != before {
		a.Log.Info("Phase", "is", a.life.phase.String(), "was", before.String())
		a.tellSupervisor()
	}
	for _, act := range acts {
		a.act(ctx, act)
	}
	if a.control != nil {
		a.control.Notify()
	}
}

func (a *app) act(ctx context.Context, act action) {
	switch act.do {
	case actServe:
		a.serve(ctx)
	case actTake:
		a.spawn(func() { a.take(ctx, act) })
	case actTook:
		a.took(ctx)
	case actOffer:
		a.mu.Lock()
		a.offered = act
		a.mu.Unlock()
	case actUnlock:
		a.unlock()
	case actLeave:
		a.markLeft()
		a.Log.Info("Leaving; clients are served until they have gone", "reason", act.why)
		a.engine.Leave()
	case actWatchApp:
		a.spawn(func() { a.watchApp(ctx) })
	case actTimer:
		a.timer.Reset(act.wait)
	case actFinish:
		a.finish(act)
	}
}

// serve makes this process the one that serves, from nothing.
func (a *app) serve(ctx context.Context) {
	a.keepForPod()
	a.engine.Serve()
	a.gate.admit() // applies, and tries again while a port is taken
	a.front.start()
	a.desk(ctx)
}

// finish ends everything in order. The listening sockets stay open in whoever took them over.
func (a *app) finish(act action) {
	a.Log.Info("Ending", "reason", act.why, "code", act.code)
	a.end = &End{Code: act.code, Why: act.why}
	close(a.quit)
	a.mu.Lock()
	a.phase, a.code = over, act.code
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	a.front.stop(ctx)
	if a.control != nil && a.control.Connected() {
		if err := a.control.Flush(ctx); err != nil {
			a.Log.Info("The operator may not have heard of the end", "error", err.Error())
		}
	}
	if a.Supervisor != nil && act.code != 0 {
		if err := a.Supervisor.Words(act.why); err != nil {
			a.Log.Error(err, "The supervisor was not told why")
		}
	}
	a.stop()
	a.tasks.Wait()
	if act.code == 0 {
		a.empty(ctx)
	}
	a.engine.Stop()
	a.flushSpans()
	a.closeLog(ctx)
	a.set.Release()
}

// empty waits until the peers have taken what was written for them, such as the last message of a client that has left.
func (a *app) empty(ctx context.Context) {
	t := time.NewTicker(emptyPoll)
	defer t.Stop()
	for a.engine.Unsent() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// spawn runs f in a goroutine that finish waits for.
func (a *app) spawn(f func()) { a.tasks.Go(f) }

// post sends an event to the machine, or nothing once the process ends.
func (a *app) post(e event) {
	select {
	case a.events <- e:
	case <-a.quit:
	}
}

func (a *app) watchLeft(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-a.engine.Left():
		a.post(event{left: true})
	}
}

// watchApp tells when every port of the application behind this sidecar is closed.
func (a *app) watchApp(ctx context.Context) {
	t := time.NewTicker(appPoll)
	defer t.Stop()
	for {
		open, err := listening()
		if err != nil {
			a.Log.Error(err, "The application's ports cannot be watched; serving until the grace period ends")
			return
		}
		if !appListens(a.engine.Snapshot(), open) {
			a.post(event{appGone: true})
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// appListens says whether one of the ports that inbound listeners forward to is open.
func appListens(s *config.Snapshot, open map[uint16]bool) bool {
	for _, l := range s.Listeners {
		if l.Direction != config.Inbound || s.Clusters[l.Cluster] == nil {
			continue
		}
		for _, e := range s.Clusters[l.Cluster].Endpoints {
			if open[e.Port()] {
				return true
			}
		}
	}
	return false
}

// orderAfter reads who serves, and makes this process its successor.
func (a *app) orderAfter() error {
	if a.boot.Operator != nil {
		return errors.New("take over: with an operator, it says when")
	}
	if a.boot.Handover.KeyFile == "" {
		return errors.New("take over: handover.keyFile is needed: the serving process writes it")
	}
	k, err := readKeyFile(a.boot.Handover.KeyFile)
	if err != nil {
		return fmt.Errorf("take over: who serves? %w", err)
	}
	a.boot.Node.Generation = max(a.boot.Node.Generation, k.Generation+1)
	a.life.own = a.boot.Node.Generation
	return nil
}
