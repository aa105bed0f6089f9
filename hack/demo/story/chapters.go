package story

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/axlemesh/axle/hack/peers/meshstate"
)

// baseline lets the pods serve each other without a mesh.
func (s Story) baseline(ctx context.Context, t *told) error {
	s.Say("1. %d pods serve each other directly", s.Pods)
	err := s.until(ctx, t, "a direct start", func(o Observation) (bool, string) {
		sum := o.tally()
		return len(o.Pods) == s.Pods && sum.direct == s.Connections && sum.requests > 0,
			fmt.Sprintf("%d of %d pods, %d of %d connections", len(o.Pods), s.Pods, sum.direct, s.Connections)
	})
	if err != nil {
		return err
	}
	t.start = t.last
	s.Say("   %d connections are open; %v of baseline", s.Connections, s.Baseline)
	if err := s.Load.Enter(ctx, windowBaseline); err != nil {
		return err
	}
	if err := s.hold(ctx, t, s.Baseline); err != nil {
		return err
	}
	if n := changedSockets(t.start, t.last); n > 0 {
		return fmt.Errorf("%d connections changed without a mesh", n)
	}
	l, err := t.last.latencies()
	if err != nil {
		return err
	}
	s.Say("   baseline: %d requests, mean %.3f ms, p99 %.2f ms", l[windowBaseline].count, l[windowBaseline].mean, l[windowBaseline].p99)
	return nil
}

// join labels the namespace and waits until every call goes through a sidecar.
func (s Story) join(ctx context.Context, t *told) error {
	s.Say("2. the namespace joins: kubectl label namespace ... axlemesh.io/injection=enabled")
	if err := s.Load.Enter(ctx, windowMoving); err != nil {
		return err
	}
	if err := s.Operator.Join(ctx); err != nil {
		return err
	}
	if err := s.serving(ctx, t, s.First); err != nil {
		return err
	}
	var said int64
	err := s.until(ctx, t, "every connection's move to its sidecar", func(o Observation) (bool, string) {
		sum := o.tally()
		if sum.moves != said {
			said = sum.moves
			s.Say("   %d of %d connections have moved to their sidecars", said, s.Connections)
		}
		return sum.moves == int64(s.Connections) && sum.mesh == s.Connections, fmt.Sprintf("%d of %d moves", sum.moves, s.Connections)
	})
	if err != nil {
		return err
	}
	why, _ := disturbed(t.start, t.last)
	if len(why) > 0 {
		return errLoss // the verdict says why
	}
	s.Say("   no pod was replaced, no application restarted, every address is the same")
	t.through = t.last
	return nil
}

// serving waits until the sidecar of every pod serves with version, and says it pod by pod.
func (s Story) serving(ctx context.Context, t *told, version string) error {
	start := s.Now()
	said := map[string]bool{}
	return s.until(ctx, t, "version "+version+" everywhere", func(o Observation) (bool, string) {
		var missing []string
		for _, p := range o.Pods {
			if !runs(p, version) {
				missing = append(missing, p.Name+" "+describe(p))
				continue
			}
			if !said[p.Name] {
				said[p.Name] = true
				s.Say("   %-24s %s serves, generation %d, after %v", p.Name, version, p.Mesh.Generation, s.Now().Sub(start).Round(100*time.Millisecond))
			}
		}
		if len(o.Pods) != t.Pods {
			missing = append(missing, fmt.Sprintf("%d of %d pods are there", len(o.Pods), t.Pods))
		}
		return len(missing) == 0, strings.Join(missing, ", ")
	})
}

// runs says whether a pod's sidecar serves with version, by its state and by its metrics.
func runs(p Pod, version string) bool {
	if p.Mesh.State.State != meshstate.Serving || p.Mesh.Version != version {
		return false
	}
	for _, line := range p.Mesh.Metrics {
		if strings.Contains(line, `version="`+version+`"`) {
			return true
		}
	}
	return false
}

func describe(p Pod) string {
	switch {
	case p.Mesh.Problem != "":
		return "(" + p.Mesh.Problem + ")"
	case p.Mesh.Version != "":
		return fmt.Sprintf("(%s with %s)", p.Mesh.State.State, p.Mesh.Version)
	}
	return "(" + p.Mesh.State.State + ")"
}

// steady lets the calls go through the sidecars for a while.
func (s Story) steady(ctx context.Context, t *told) error {
	s.Say("   %v of calls through the sidecars", s.Steady)
	if err := s.Load.Enter(ctx, windowSteady); err != nil {
		return err
	}
	if err := s.hold(ctx, t, s.Steady); err != nil {
		return err
	}
	l, err := t.last.latencies()
	if err != nil {
		return err
	}
	s.Say("   steady: %d requests, mean %.3f ms (%+.3f), p99 %.2f ms", l[windowSteady].count, l[windowSteady].mean,
		l[windowSteady].mean-l[windowBaseline].mean, l[windowSteady].p99)
	return nil
}

// upgrades changes the version under load, once for each version of the plan.
func (s Story) upgrades(ctx context.Context, t *told) error {
	for i, version := range s.Upgrades {
		s.Say("4. upgrade %d of %d: kubectl patch sidecarfleet default --type merge -p '{\"spec\":{\"version\":\"%s\"}}'", i+1, len(s.Upgrades), version)
		if err := s.Load.Enter(ctx, windowUpgrade); err != nil {
			return err
		}
		if err := s.Operator.Upgrade(ctx, version); err != nil {
			return err
		}
		if err := s.serving(ctx, t, version); err != nil {
			return err
		}
		if err := s.Load.Enter(ctx, windowSteady); err != nil {
			return err
		}
		if err := s.hold(ctx, t, s.Settle); err != nil {
			return err
		}
		if n := changedSockets(t.through, t.last); n > 0 {
			return fmt.Errorf("after the upgrade to %s %d connections are other sockets than before", version, n)
		}
		t.Upgrades++
		s.Say("   all %d connections are the same sockets as before, by their local ports", s.Connections)
	}
	return nil
}

// leave takes the label away and waits until everything is as it was.
func (s Story) leave(ctx context.Context, t *told) error {
	s.Say("7. the namespace leaves: kubectl label namespace ... axlemesh.io/injection-")
	if err := s.Load.Enter(ctx, windowLeaving); err != nil {
		return err
	}
	if err := s.Operator.Leave(ctx); err != nil {
		return err
	}
	var said int64
	err := s.until(ctx, t, "every connection's return", func(o Observation) (bool, string) {
		sum := o.tally()
		if sum.returns != said {
			said = sum.returns
			s.Say("   %d of %d connections have returned to the direct way", said, s.Connections)
		}
		return sum.returns == int64(s.Connections) && sum.direct == s.Connections, fmt.Sprintf("%d of %d returns", sum.returns, s.Connections)
	})
	if err != nil {
		return err
	}
	ended := map[string]bool{}
	return s.until(ctx, t, "every sidecar's end", func(o Observation) (bool, string) {
		var missing []string
		for _, p := range o.Pods {
			gone, why := gone(p)
			if !gone {
				missing = append(missing, p.Name+" "+why)
			} else if !ended[p.Name] {
				ended[p.Name] = true
				s.Say("   %-24s %s", p.Name, farewell(p))
			}
		}
		t.Left = len(missing) == 0
		return t.Left, strings.Join(missing, ", ")
	})
}

// failedCandidate is how a sidecar exits whose handover failed.
const failedCandidate = 10

func farewell(p Pod) string {
	if p.slots() {
		return "its slots are idle"
	}
	return fmt.Sprintf("its %d sidecars have ended, one after the other", len(p.Sidecars))
}

// gone says whether a pod has had sidecars, and all of them ended well. Of those in place only what died in its handover, as it was
// built to, ended with another code than 0. Slots stay, and nothing answers where the sidecar was.
func gone(p Pod) (bool, string) {
	if len(p.Sidecars) == 0 {
		return false, "has never had a sidecar"
	}
	if p.slots() {
		return p.Mesh.State.State == meshstate.Absent, "is still served: " + describe(p)
	}
	for _, c := range p.Sidecars {
		if !c.Ended {
			return false, c.Name + " has not ended"
		}
		if c.ExitCode != 0 && c.ExitCode != failedCandidate {
			return false, fmt.Sprintf("%s ended with %d (%s)", c.Name, c.ExitCode, c.Reason)
		}
	}
	return true, ""
}

// end stops the load and compares what was sent with what was done.
func (s Story) end(ctx context.Context, t *told) error {
	if err := s.hold(ctx, t, min(s.Settle, 5*time.Second)); err != nil {
		return err
	}
	if err := s.Load.Pause(ctx); err != nil {
		return err
	}
	o, err := s.arrived(ctx, t)
	if err != nil {
		return err
	}
	t.Why = append(t.Why, executed(o)...)
	sum := o.tally()
	if sum.moves != int64(s.Connections) || sum.returns != int64(s.Connections) {
		t.Why = append(t.Why, fmt.Sprintf("moves=%d and returns=%d, want %d of each", sum.moves, sum.returns, s.Connections))
	}
	s.Say("   the clients sent %d messages, the servers got %d, none of them twice", sum.sent, sum.executed)
	return nil
}

// arrivalPatience is how long a message may be on its way once the clients have paused: on a busy machine a oneway takes its time.
const arrivalPatience = 10 * time.Second

// arrived waits until the servers have got what the clients have sent, or never will.
func (s Story) arrived(ctx context.Context, t *told) (Observation, error) {
	for deadline := s.Now().Add(arrivalPatience); ; {
		if !s.Wait(ctx, s.Poll) {
			return t.last, ctx.Err()
		}
		o, err := s.look(ctx, t)
		if err != nil || len(executed(o)) == 0 || s.Now().After(deadline) {
			return o, err
		}
	}
}
