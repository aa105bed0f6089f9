package slot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/supervisor"
)

// running is one supervised child.
type running struct {
	stop    context.CancelFunc
	signals chan os.Signal
	leave   chan struct{}
	left    bool
	ended   bool
	sharer  *sharer
	sharing context.CancelFunc // nil before it serves
}

// unshare ends what is said to the other slot.
func (r *running) unshare() {
	if r.sharing == nil {
		r.sharer.clear()
		return
	}
	r.sharing()
}

// start runs the child with kept.
func (s *shell) start(kept map[string]int) {
	if s.child != nil {
		s.child.unshare()
	}
	ctx, cancel := context.WithCancel(context.Background())
	other := "b"
	if s.name == "b" {
		other = "a"
	}
	s.child = &running{
		stop: cancel, signals: make(chan os.Signal, 16), leave: make(chan struct{}),
		sharer: newSharer(s.dir.Socket(other), s.Now, s.Log.WithName("share")),
	}
	cfg := supervisor.Config{
		Args: s.Args, Grace: time.Duration(s.Bootstrap.TerminationGraceSeconds) * time.Second, Kept: kept,
		Observer: &observer{s, s.child}, Signals: s.child.signals, Leave: s.child.leave, Now: s.Now, Log: s.Log.WithName("supervisor"),
	}
	env, err := s.childEnv()
	cfg.Env = env
	go func() { // the child's supervisor: ends with Ended
		runtime.LockOSThread() // for good: the child dies with the thread that started it
		out := supervisor.Outcome{Code: supervisor.ExitConfig, Kept: kept}
		if err == nil {
			out, err = supervisor.Hold(ctx, cfg)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			out.Reason = err.Error()
		}
		s.post(report{event: Event{What: Ended, Code: out.Code, Reason: out.Reason}, outcome: out})
	}()
}

func (s *shell) childEnv() ([]string, error) {
	b := s.Bootstrap
	b.Node.Generation, b.Node.Version = s.id.Generation, s.id.Version
	if b.Node.Container == "" {
		b.Node.Container = "axle-" + s.name
	}
	raw, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("write the child's bootstrap: %w", err)
	}
	return append(slices.Clip(s.Env), bootstrap.Env+"="+string(raw)), nil
}

// observer turns what a child's supervisor sees into events.
type observer struct {
	shell *shell
	child *running
}

// Keeps implements supervisor.Observer.
func (o *observer) Keeps(key string, fd int) { o.child.sharer.add(key, fd) }

// Drops implements supervisor.Observer.
func (o *observer) Drops(key string) { o.child.sharer.remove(key) }

// Is implements supervisor.Observer.
func (o *observer) Is(p supervisor.Phase) {
	phase := Serving
	switch p {
	case supervisor.Starting:
		phase = Starting
	case supervisor.Candidate:
		phase = Taking
	}
	o.shell.post(report{event: Event{What: Is, Phase: phase}})
}
