package story

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/axlemesh/axle/hack/peers/meshstate"
)

// Plan is what the story does and for how long.
type Plan struct {
	// First is the version that the pods get when they join; Upgrades come after it.
	First    string
	Upgrades []string
	// Broken is a version whose process dies in its handover; "" leaves that chapter out.
	Broken string
	// Pods and Connections that have to be there. Added is how many more pods a Deployment gets during the story, which then have slots; 0 leaves
	// that chapter out, and the split with it.
	Pods, Connections, Added int
	// Split is the part of the requests, in percent, that a TrafficRule sends to the added pods for the time of Measure; 0 leaves it out.
	Split   int
	Measure time.Duration
	// Baseline is the time without a mesh, Steady the one with it before the first upgrade, Settle the one after each.
	Baseline, Steady, Settle time.Duration
	// Patience is how long anything that should happen may take.
	Patience time.Duration
	// Poll is the time between two looks.
	Poll time.Duration
}

// Story tells a Plan. All fields are required.
type Story struct {
	Plan
	Watcher  Watcher
	Operator Operator
	Load     Load
	// Say prints one line of what happens.
	Say func(format string, args ...any)
	// Now is the clock; Wait waits, and returns false when ctx ended first.
	Now  func() time.Time
	Wait func(ctx context.Context, d time.Duration) bool
}

// errLoss ends a story that has failed already.
var errLoss = errors.New("a client noticed something")

// told is what a story has seen so far.
type told struct {
	Verdict
	start, last Observation
	// through is taken when all calls go through sidecars: the sockets that every upgrade has to keep.
	through Observation
	served  map[string]bool // pods that have had a serving sidecar in place
	slotted map[string]bool // pods that have had a serving sidecar in a slot
}

// Tell plays the story to its end, or to the first loss, and judges it.
func (s Story) Tell(ctx context.Context) Verdict {
	t := &told{Verdict: Verdict{Pods: s.Pods}, served: map[string]bool{}, slotted: map[string]bool{}}
	chapters := []func(context.Context, *told) error{s.baseline, s.join, s.steady, s.grow, s.upgrades, s.broken, s.split, s.leave, s.end}
	var err error
	for _, chapter := range chapters {
		if err = chapter(ctx, t); err != nil {
			break
		}
	}
	s.judge(t, err)
	return t.Verdict
}

// judge fills the verdict from what was seen last.
func (s Story) judge(t *told, err error) {
	if err != nil && !errors.Is(err, errLoss) {
		t.Why = append(t.Why, err.Error())
	}
	sum := t.last.tally()
	t.InPlace, t.Slots = len(t.served), len(t.slotted)
	t.Moves, t.Requests = sum.moves, sum.requests
	t.Failed, t.Resets, t.Reconnects, t.Duplicates = sum.failed, sum.resets, sum.reconnects, sum.duplicates
	t.Why = append(t.Why, losses(t.last)...)
	why, restarts := disturbed(t.start, t.last)
	t.Why = append(t.Why, why...)
	t.AppRestarts = restarts
	l, err := t.last.latencies()
	if err != nil {
		t.Why = append(t.Why, err.Error())
	}
	if l[windowSteady].count > 0 && l[windowBaseline].count > 0 {
		t.AddedMeanMS = l[windowSteady].mean - l[windowBaseline].mean
	}
	t.P99SteadyMS, t.P99UpgradeMS = l[windowSteady].p99, l[windowUpgrade].p99
	if sum.requests == 0 {
		t.Why = append(t.Why, "no request was answered")
	}
}

// look observes and stops the story at the first loss.
func (s Story) look(ctx context.Context, t *told) (Observation, error) {
	o, err := s.Watcher.Observe(ctx)
	if err != nil {
		return o, fmt.Errorf("look at the cluster: %w", err)
	}
	t.last = o
	for _, p := range o.Pods {
		if p.Mesh.State.State == meshstate.Serving && slices.ContainsFunc(p.Sidecars, func(c Sidecar) bool { return c.Running }) {
			if p.slots() {
				t.slotted[p.Name] = true
			} else {
				t.served[p.Name] = true
			}
		}
	}
	if why := losses(o); len(why) > 0 {
		s.notes(o)
		return o, errLoss
	}
	return o, nil
}

// notes prints what the clients say about their losses.
func (s Story) notes(o Observation) {
	for _, p := range o.Pods {
		if p.Client == nil {
			continue
		}
		for i, n := range p.Client.Notes {
			if i == 5 {
				s.Say("  %s: and %d more", p.Name, len(p.Client.Notes)-i)
				break
			}
			s.Say("  %s: %s", p.Name, n)
		}
	}
}

// until looks again and again until done says so; it reports progress every ten seconds.
func (s Story) until(ctx context.Context, t *told, what string, done func(Observation) (bool, string)) error {
	start, spoke := s.Now(), s.Now()
	for {
		o, err := s.look(ctx, t)
		if err != nil {
			return err
		}
		ok, missing := done(o)
		if ok {
			return nil
		}
		if s.Now().Sub(start) > s.Patience {
			if o.Trouble != "" {
				missing += "; " + o.Trouble
			}
			return fmt.Errorf("%s did not happen within %v: %s", what, s.Patience, missing)
		}
		if s.Now().Sub(spoke) >= 10*time.Second {
			spoke = s.Now()
			s.Say("  %s so far: %s", s.Now().Sub(start).Round(time.Second), missing)
		}
		if !s.Wait(ctx, s.Poll) {
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		}
	}
}

// hold lets the load run for d, looking for losses; it reports progress every ten seconds.
func (s Story) hold(ctx context.Context, t *told, d time.Duration) error {
	end, spoke := s.Now().Add(d), s.Now()
	for {
		o, err := s.look(ctx, t)
		if err != nil {
			return err
		}
		left := end.Sub(s.Now())
		if left <= 0 {
			return nil
		}
		if s.Now().Sub(spoke) >= 10*time.Second {
			spoke = s.Now()
			sum := o.tally()
			s.Say("  %d requests answered, %d failed, %v to go", sum.requests, sum.failed, left.Round(time.Second))
		}
		if !s.Wait(ctx, min(left, 4*s.Poll)) {
			return fmt.Errorf("holding the load: %w", ctx.Err())
		}
	}
}
