package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/admin"
	"github.com/axlemesh/axle/sidecar/backoff"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/sockets"
	"github.com/axlemesh/axle/sidecar/xds"
)

// deskRetry is the wait after the handover socket failed.
const deskRetry = time.Second

// warm is what a candidate gets besides connections: the data plane's state, and this package's.
type warm struct {
	Engine    json.RawMessage `json:"engine"`
	Handovers admin.Handovers `json:"handovers"`
	// LastGood is the last good xDS configuration, for a candidate that the control plane does not answer.
	LastGood []byte `json:"lastGood,omitempty"`
}

// donor is the data plane's side of giving, and what else has to wait or to move with it.
type donor struct {
	handover.Donor
	app *app
}

// Warm adds what this package knows.
func (d donor) Warm() ([]byte, error) {
	engine, err := d.Donor.Warm()
	if err != nil {
		return nil, err
	}
	d.app.mu.Lock()
	w := warm{Engine: engine, Handovers: d.app.handovers, LastGood: d.app.lastGood}
	d.app.mu.Unlock()
	b, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("write down the state to hand over: %w", err)
	}
	return b, nil
}

// HoldConfig keeps configuration as it is until the move is over.
func (d donor) HoldConfig(hold bool) { d.app.gate.hold(hold) }

// PauseAccept stops accepting, on local endpoints too.
func (d donor) PauseAccept() {
	d.app.front.pause()
	d.Donor.PauseAccept()
}

// ResumeAccept undoes PauseAccept.
func (d donor) ResumeAccept() {
	d.Donor.ResumeAccept()
	d.app.front.start()
}

// candidate is the data plane's side of taking.
type candidate struct {
	handover.Candidate
	app *app
}

// Warm configures the data plane: with what this process was told itself, else with what the donor runs on. The
// listening sockets have been adopted, so nothing is bound. Where the donor serves something that this process refuses, it keeps serving.
func (c candidate) Warm(state []byte) error {
	var w warm
	if err := json.Unmarshal(state, &w); err != nil {
		return fmt.Errorf("read the state of the serving process: %w", err)
	}
	if err := c.Candidate.Warm(w.Engine); err != nil {
		return err
	}
	fallback, err := c.inherit(w.LastGood)
	if err != nil {
		return err
	}
	c.app.mu.Lock()
	c.app.handovers = w.Handovers
	inherited := c.app.lastGood == nil && len(w.LastGood) > 0
	if inherited {
		c.app.lastGood = w.LastGood
	}
	c.app.mu.Unlock()
	if inherited && c.app.Supervisor != nil { // a crash may come before the control plane has sent anything
		if err := c.app.Supervisor.Keep(keepXDS, w.LastGood); err != nil {
			c.app.Log.Error(err, "A restart of the proxy would not find its configuration")
		}
	}
	return c.app.gate.now(fallback)
}

// inherit returns the configuration of the donor, if that is the control plane's, and lends it to this process' client of the control plane.
// It fails when the donor serves what this process refuses: the handover would close it.
func (c candidate) inherit(lastGood []byte) (*config.Snapshot, error) {
	if len(lastGood) == 0 {
		return nil, nil
	}
	from, err := xds.Read(lastGood)
	switch {
	case err != nil && c.app.xds == nil: // a configuration of its own is all that it needs
		c.app.Log.Error(err, "The configuration of the serving process is not understood")
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the configuration of the serving process: %w", err)
	}
	if c.app.xds != nil {
		c.app.xds.Lend(from)
		if err := c.app.xds.Lost(from); err != nil {
			return nil, fmt.Errorf("this version refuses what the serving process has; change it at the control plane, or delete it there: %w", err)
		}
	}
	snap, _ := from.Snapshot() // what is left out is left out by the donor, too
	return snap, nil
}

// Accept starts accepting, on local endpoints too.
func (c candidate) Accept() {
	c.Candidate.Accept()
	c.app.front.start()
}

// StopAccept undoes Accept.
func (c candidate) StopAccept() {
	c.app.front.pause()
	c.Candidate.StopAccept()
}

// EndRelay passes on that no relay reaches the donor any more.
func (c candidate) EndRelay() {
	if e, ok := c.Candidate.(interface{ EndRelay() }); ok {
		e.EndRelay()
	}
}

// EndMove passes on that no relay will come any more.
func (c candidate) EndMove() {
	if e, ok := c.Candidate.(interface{ EndMove() }); ok {
		e.EndMove()
	}
}

// desk waits for candidates for as long as this process serves.
func (a *app) desk(ctx context.Context) {
	if a.boot.Operator == nil && a.boot.Handover.KeyFile == "" {
		a.Log.Info("This process cannot be upgraded while it runs: handover.keyFile is not set")
		return
	}
	a.spawn(func() {
		for a.give(ctx) {
			if backoff.Wait(ctx, deskRetry) != nil {
				return
			}
		}
	})
}

// give serves candidates until one has taken over or ctx ends; it returns true when the socket failed.
func (a *app) give(ctx context.Context) bool {
	fd, err := a.set.Listen(sockets.Handover, "unixpacket", a.boot.Handover.Socket)
	if err != nil {
		a.Log.Error(err, "No successor can take over yet", "retry", deskRetry.String())
		return true
	}
	if err := a.announce(); err != nil {
		a.Log.Error(err, "No successor can take over yet", "retry", deskRetry.String())
		return true
	}
	for {
		r, err := handover.Serve(ctx, a.serveConfig(fd))
		a.setGiving(false)
		if ctx.Err() != nil && !r.OK {
			return false
		}
		if err != nil {
			a.Log.Error(err, "No successor can take over yet", "retry", deskRetry.String())
			return true
		}
		a.note(r)
		if r.OK {
			a.tellGave()
		}
		a.post(event{donated: &r})
		if r.OK {
			return false
		}
	}
}

func (a *app) serveConfig(fd int) handover.ServeConfig {
	return handover.ServeConfig{
		Listener: fd, Key: a.key, Donor: donor{a.engine.Donor(), a}, Sockets: a.set.All, Descriptors: a.descriptors,
		Features: handover.FeatureParts, Build: a.Build, Clock: a.Now, Log: a.Log.WithName("handover"),
		OnPhase: func(handover.Phase) { a.setGiving(true) },
	}
}

// announce tells standalone successors whom they take over from. It comes after the socket: a process that finds it taken
// must not touch the key file of the one that serves.
func (a *app) announce() error {
	if a.boot.Operator != nil {
		return nil
	}
	return keyFile{Generation: a.boot.Node.Generation}.write(a.boot.Handover.KeyFile)
}

func (a *app) setGiving(on bool) {
	a.mu.Lock()
	changed := a.giving != on
	a.giving = on
	a.mu.Unlock()
	if changed && a.control != nil {
		a.control.Notify()
	}
}

// key returns the handover that may begin here.
func (a *app) key() (key []byte, from, to int64, ok bool) {
	own := a.boot.Node.Generation
	if a.boot.Operator == nil {
		k, err := readKeyFile(a.boot.Handover.KeyFile)
		if err != nil {
			a.Log.Error(err, "No handover can begin")
			return nil, 0, 0, false
		}
		return k.Key, own, k.To, k.Generation == own && k.To > own && len(k.Key) > 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return []byte(a.offered.key), own, a.offered.to, a.offered.key != ""
}

// descriptors is how many the candidate will need.
func (a *app) descriptors() int64 {
	s := a.engine.Stats()
	n := s.Upstream + uint64(len(a.set.All()))
	for _, open := range s.Downstream {
		n += open
	}
	return int64(n)
}

// take takes over, and reports how that ended.
func (a *app) take(ctx context.Context, act action) {
	cfg := a.takeConfig(act)
	var err error
	if a.Takeover {
		cfg.From, cfg.Key, err = a.signal()
	}
	r := handover.Result{From: cfg.From, To: cfg.To, Step: handover.PhaseHello.String()}
	if err == nil {
		r, err = handover.Take(ctx, cfg)
	}
	if err != nil {
		r.Reason = err.Error()
	}
	if a.Takeover && !r.OK && r.From > 0 { // the key was good once
		if err := (keyFile{Generation: r.From}).write(a.boot.Handover.KeyFile); err != nil {
			a.Log.Error(err, "The next takeover has to write its key over this one's")
		}
	}
	a.note(r)
	s := a.engine.Stats()
	a.post(event{taken: &r, owns: s.Downstream[config.Inbound]+s.Downstream[config.Outbound] > 0})
}

func (a *app) takeConfig(act action) handover.TakeConfig {
	return handover.TakeConfig{
		Address: a.boot.Handover.Socket, Key: []byte(act.key), From: act.from, To: a.boot.Node.Generation,
		Candidate: candidate{a.engine.Candidate(), a}, AdoptSockets: a.adopt,
		Features: handover.FeatureParts, Build: a.Build, Clock: a.Now, Log: a.Log.WithName("handover"),
	}
}

// signal tells the serving standalone process to begin, with a key made for this once.
func (a *app) signal() (from int64, key []byte, err error) {
	path := a.boot.Handover.KeyFile
	k, err := readKeyFile(path)
	if err != nil {
		return 0, nil, err
	}
	k.To, k.Key = a.boot.Node.Generation, make([]byte, 32)
	_, _ = rand.Read(k.Key) // never fails (crypto/rand)
	return k.Generation, k.Key, k.write(path)
}

func (a *app) adopt(all []handover.Socket) error {
	for i, s := range all {
		if err := a.set.Adopt(s.Key, s.FD); err != nil {
			for _, rest := range all[i+1:] {
				_ = unix.Close(rest.FD)
			}
			return err
		}
	}
	if a.slot != nil && !holdsLock(all) {
		return errors.New("the serving process did not send the slots' lock")
	}
	return nil
}

// took makes this process the serving one after a handover.
func (a *app) took(ctx context.Context) {
	snap := a.engine.Snapshot()
	wanted := make(map[string]bool)
	for _, l := range snap.Listeners {
		wanted[sockets.ListenerPrefix+l.Name] = true
	}
	for _, s := range a.set.All() {
		if strings.HasPrefix(s.Key, sockets.ListenerPrefix) && !wanted[s.Key] {
			if err := a.set.Close(s.Key); err != nil {
				a.Log.Error(err, "A listener of the predecessor is not closed", "key", s.Key)
			}
		}
	}
	a.keepForPod()
	a.gate.admit()
	a.front.start()
	a.desk(ctx)
}

// note remembers how a handover ended, for reports and metrics.
func (a *app) note(r handover.Result) {
	a.mu.Lock()
	a.last = &r
	a.gave = r.OK && r.From == a.boot.Node.Generation
	a.handovers.Add(r)
	a.mu.Unlock()
	a.engine.CountLost(r.Lost)
	log := a.Log.WithValues("from", r.From, "to", r.To, "step", r.Step, "moved", r.Moved, "lost", r.Lost,
		"freezeP99", (time.Duration(r.FreezeP99Micros) * time.Microsecond).String(), "took", (time.Duration(r.DurationMicros) * time.Microsecond).String())
	if r.OK {
		log.Info("Handover done")
		return
	}
	log.Info("Handover failed", "reason", r.Reason)
}
