package handover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// defaultWait is how long a candidate tries to be let in.
	defaultWait = 30 * time.Second
	// retryPause lies between two tries.
	retryPause = 50 * time.Millisecond
)

// call connects to the serving process and proves this one to it. It tries again while nobody listens yet, and while the
// serving process has not been told: the command to begin reaches both of them in any order.
func call(ctx context.Context, cfg TakeConfig) (*conn, error) {
	wait := cfg.Wait
	if wait <= 0 {
		wait = defaultWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var before error // of the previous try
	for {
		c, err := callOnce(ctx, cfg)
		if err != nil && before != nil && ctx.Err() != nil {
			err = before // this try was cut short, and says nothing
		}
		if err == nil || !comesLater(err) {
			return c, err
		}
		before = err
		t := time.NewTimer(retryPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("gave up after %s: %w", wait, errors.Join(err, context.Cause(ctx)))
		}
	}
}

// comesLater reports whether another try may succeed.
func comesLater(err error) bool {
	for _, e := range []error{ErrNotBegun, unix.ECONNREFUSED, unix.ENOENT, unix.EAGAIN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func callOnce(ctx context.Context, cfg TakeConfig) (*conn, error) {
	c, err := dial(cfg.Address)
	if err != nil {
		return nil, err
	}
	slow := time.AfterFunc(greetTime, func() { _ = c.Close() })
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	if err = sameUser(c); err == nil {
		err = proveToDonor(c, cfg.Key, cfg.From, cfg.To)
	}
	if inTime := slow.Stop(); err == nil && (!stop() || !inTime) {
		err = errors.New("the donor took too long")
	}
	if err != nil {
		stop()
		_ = c.Close()
		return nil, fmt.Errorf("handover socket %q: %w", cfg.Address, err)
	}
	return c, nil
}

// candidateShell calls the data plane for a CandidateMachine.
type candidateShell struct {
	cfg  TakeConfig
	link *link
}

// takeOver runs the candidate's side over a connection on which both have proved themselves.
func takeOver(ctx context.Context, cfg TakeConfig, c *conn) Result {
	life := c.peerLife()
	t := &candidateShell{cfg: cfg, link: newLink(c, cfg.RelayQueue)}
	self := hello(cfg.From, cfg.To, cfg.Build, cfg.Versions, cfg.Features, cfg.Required, cfg.Codecs)
	self.Headroom = headroom()
	s := &session{
		m:    NewCandidateMachine(CandidateConfig{Self: self, Deadlines: cfg.Deadlines}),
		link: t.link, host: t.do, life: life, clock: cfg.Clock, log: cfg.Log, onPhase: cfg.OnPhase, onPlan: cfg.OnPlan,
	}
	if cfg.tamper != nil {
		cfg.tamper(s)
	}
	return s.run(ctx)
}

func (t *candidateShell) do(a Action) *Event {
	switch a.Kind {
	case ActWarm:
		return t.warm(a.Message.Warm)
	case ActReady:
		return &Event{Kind: EventReady, Err: text(t.cfg.Candidate.Ready())}
	case ActAccept:
		t.cfg.Candidate.Accept()
	case ActStopAccept:
		t.cfg.Candidate.StopAccept()
	case ActBeginMove:
		t.cfg.Candidate.BeginMove(t.link.relay)
	case ActCloseSend, ActFence:
		if e, ok := t.cfg.Candidate.(interface{ EndRelay() }); ok {
			e.EndRelay()
		}
	case ActEndMove:
		if e, ok := t.cfg.Candidate.(interface{ EndMove() }); ok {
			e.EndMove()
		}
	case ActPrepare:
		return &Event{Kind: EventPrepared, ID: a.ID, Err: text(t.cfg.Candidate.Prepare(a.Message.Batch))}
	case ActActivate:
		t.cfg.Candidate.Activate(a.ID)
	case ActDrop:
		t.cfg.Candidate.Drop(a.ID)
	case ActRelayed:
		for _, r := range a.Message.Relays {
			t.cfg.Candidate.Relayed(r)
		}
	case ActDone:
		t.cfg.Candidate.Done()
	}
	return nil
}

// warm takes the sockets before the state: the state may refer to them.
func (t *candidateShell) warm(w Warm) *Event {
	err := t.cfg.AdoptSockets(w.Sockets)
	if err == nil {
		err = t.cfg.Candidate.Warm(w.State)
	}
	return &Event{Kind: EventWarmed, Err: text(err)}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// headroom is how many more descriptors this process can open, or -1.
func headroom() int64 {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return -1
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return int64(lim.Cur) - int64(len(open))
}
