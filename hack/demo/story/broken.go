package story

import (
	"context"
	"fmt"
	"strings"
)

// broken asks for a version whose process dies in its handover, and waits until the rollout has gone back by itself.
func (s Story) broken(ctx context.Context, t *told) error {
	if s.Broken == "" {
		return nil
	}
	good := s.Upgrades[len(s.Upgrades)-1]
	s.Say("5. a broken version: kubectl patch sidecarfleet default --type merge -p '{\"spec\":{\"version\":\"%s\"}}'", s.Broken)
	if err := s.Load.Enter(ctx, windowUpgrade); err != nil {
		return err
	}
	if err := s.Operator.Upgrade(ctx, s.Broken); err != nil {
		return err
	}
	err := s.until(ctx, t, "the rollback of "+s.Broken, func(o Observation) (bool, string) {
		var missing []string
		if o.RolledBack == "" {
			missing = append(missing, "the fleet does not say that it rolled back")
		}
		for _, p := range o.Pods {
			if !runs(p, good) {
				missing = append(missing, p.Name+" "+describe(p))
			}
		}
		return len(missing) == 0, strings.Join(missing, ", ")
	})
	if err != nil {
		return err
	}
	t.RolledBack++
	s.Say("   it stopped and went back by itself: %s", t.last.RolledBack)
	if err := s.Operator.Upgrade(ctx, good); err != nil {
		return err
	}
	err = s.until(ctx, t, "a fleet without trouble", func(o Observation) (bool, string) { return o.Trouble == "", o.Trouble })
	if err != nil {
		return err
	}
	if err := s.Load.Enter(ctx, windowSteady); err != nil {
		return err
	}
	if err := s.hold(ctx, t, s.Settle); err != nil {
		return err
	}
	if n := changedSockets(t.through, t.last); n > 0 {
		return fmt.Errorf("after the rollback %d connections are other sockets than before", n)
	}
	return nil
}
