package story

import (
	"context"
	"fmt"
	"math"
)

// splitError is by how much the measured part may differ from the one that was asked for.
const splitError = 0.01

// split lets a TrafficRule send a part of the calls to the added pods, and counts who got them.
func (s Story) split(ctx context.Context, t *told) error {
	if s.Split == 0 || s.Added == 0 {
		return nil
	}
	s.Say("6. a TrafficRule sends %d %% of the calls to version v2", s.Split)
	if err := s.Load.Enter(ctx, windowSplit); err != nil {
		return err
	}
	if err := s.Operator.Split(ctx, s.Split); err != nil {
		return err
	}
	err := s.until(ctx, t, "the rule in every sidecar", func(o Observation) (bool, string) {
		return o.Programmed, "the rule's condition Programmed is not True"
	})
	if err != nil {
		return err
	}
	added, all := t.last.served()
	if err := s.hold(ctx, t, s.Measure); err != nil {
		return err
	}
	addedThen, allThen := t.last.served()
	if allThen == all {
		return fmt.Errorf("no call in %v", s.Measure)
	}
	t.Split = float64(addedThen-added) / float64(allThen-all)
	s.Say("   %d of %d calls went there: %.4f", addedThen-added, allThen-all, t.Split)
	if want := float64(s.Split) / 100; math.Abs(t.Split-want) > splitError {
		t.Why = append(t.Why, fmt.Sprintf("split=%.4f, want %.2f", t.Split, want))
	}
	return nil
}

// served counts the calls that the added pods got, and those that all pods of the same service got.
func (o Observation) served() (added, all int64) {
	for _, p := range o.Pods {
		if p.Server == nil || !p.Ruled {
			continue
		}
		all += p.Server.Requests
		if p.Added {
			added += p.Server.Requests
		}
	}
	return added, all
}
