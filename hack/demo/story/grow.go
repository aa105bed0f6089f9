package story

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// grow scales a Deployment up, so that pods with slots and pods that were injected while they ran work together from now on.
func (s Story) grow(ctx context.Context, t *told) error {
	if s.Added == 0 {
		return nil
	}
	s.Say("3. a Deployment grows: kubectl scale deployment ledger-v2 --replicas=%d; new pods get slots", s.Added)
	if err := s.Load.Enter(ctx, windowGrowing); err != nil {
		return err
	}
	if err := s.Operator.Scale(ctx, s.Added); err != nil {
		return err
	}
	start := s.Now()
	err := s.until(ctx, t, "the new pods' part of the calls", func(o Observation) (bool, string) {
		var missing []string
		n := 0
		for _, p := range o.Pods {
			if !p.Added {
				continue
			}
			n++
			switch {
			case !p.slots():
				missing = append(missing, p.Name+" has no slots")
			case !runs(p, s.First):
				missing = append(missing, p.Name+" "+describe(p))
			case p.Server == nil || p.Server.Requests == 0:
				missing = append(missing, p.Name+" gets no calls")
			}
		}
		if n != s.Added {
			missing = append(missing, fmt.Sprintf("%d of %d new pods", n, s.Added))
		}
		return len(missing) == 0, strings.Join(missing, ", ")
	})
	if err != nil {
		return err
	}
	for _, p := range t.last.Pods {
		if p.Added {
			t.start.Pods = append(t.start.Pods, p) // from now on it has to stay what it is
		}
	}
	t.Pods += s.Added
	s.Say("   %d pods with slots serve after %v", s.Added, s.Now().Sub(start).Round(100*time.Millisecond))
	if n := changedSockets(t.through, t.last); n > 0 {
		return fmt.Errorf("%d connections changed when pods were added", n)
	}
	return nil
}
