package handover

import (
	"slices"
	"testing"
)

// wrong is a machine with a mistake in it.
type wrong struct {
	machine
	twist func(e Event, acts []Action) []Action
}

func (w wrong) Step(e Event) []Action { return w.twist(e, slices.Clone(w.machine.Step(e))) }

func without(kind ActionKind) func(Event, []Action) []Action {
	return func(_ Event, acts []Action) []Action {
		return slices.DeleteFunc(acts, func(a Action) bool { return a.Kind == kind })
	}
}

// TestSabotage breaks one rule of the protocol at a time: a simulation that does not notice would prove nothing.
func TestSabotage(t *testing.T) {
	cases := map[string]struct {
		who   int
		twist func(m machine) func(Event, []Action) []Action
	}{
		"the candidate begins I/O at COMMIT, before RESUMED was taken": {1, func(machine) func(Event, []Action) []Action {
			return func(e Event, acts []Action) []Action {
				acts = without(ActActivate)(e, acts)
				if e.Kind == EventMessage && e.Message.Kind == KindCommit {
					acts = append(acts, Action{Kind: ActActivate, ID: e.Message.ID})
				}
				return acts
			}
		}},
		"the donor takes a committed batch back without a fence": {0, func(m machine) func(Event, []Action) []Action {
			return func(_ Event, acts []Action) []Action {
				d := m.(*DonorMachine)
				if d.ending && d.batch.committed {
					acts = append(acts, Action{Kind: ActThaw, ID: d.batch.id})
				}
				return acts
			}
		}},
		"the donor releases at COMMIT": {0, func(machine) func(Event, []Action) []Action {
			return func(_ Event, acts []Action) []Action {
				for _, a := range acts {
					if a.Kind == ActSend && a.Message.Kind == KindCommit {
						return append(acts, Action{Kind: ActRelease, ID: a.Message.ID})
					}
				}
				return acts
			}
		}},
		"the donor commits a batch of which not all is prepared": {0, func(m machine) func(Event, []Action) []Action {
			return func(e Event, acts []Action) []Action {
				if d := m.(*DonorMachine); d.batch.waits == 1 && d.batch.more && !d.ending {
					acts = append(acts, Action{Kind: ActSend, Message: Message{Kind: KindCommit, ID: d.batch.id, Version: d.version}})
				}
				return acts
			}
		}},
		"the candidate keeps a batch whose RESUMED was never taken": {1, func(machine) func(Event, []Action) []Action {
			return func(_ Event, acts []Action) []Action {
				for i := range acts {
					if acts[i].Kind == ActDrop {
						acts[i].Kind = ActActivate
					}
				}
				return acts
			}
		}},
		"the donor ignores what comes before DONE_ACK": {0, func(m machine) func(Event, []Action) []Action {
			return func(e Event, acts []Action) []Action {
				if m.(*DonorMachine).Phase() == PhaseDone {
					return without(ActRelayed)(e, acts)
				}
				return acts
			}
		}},
		"the donor does not accept again": {0, func(machine) func(Event, []Action) []Action { return without(ActResumeAccept) }},
		"the donor does not thaw":         {0, func(machine) func(Event, []Action) []Action { return without(ActThaw) }},
		"nobody ends the move":            {1, func(machine) func(Event, []Action) []Action { return without(ActEndMove) }},
		"the candidate does not accept":   {1, func(machine) func(Event, []Action) []Action { return without(ActAccept) }},
		"the candidate forgets a batch":   {1, func(machine) func(Event, []Action) []Action { return without(ActDrop) }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for seed := int64(1); seed <= 20000; seed++ {
				w := schedule(seed, nil, func(w *world) {
					p := w.procs[tc.who]
					p.m = wrong{p.m, tc.twist(p.m)}
				})
				if len(w.fails) > 0 {
					t.Logf("noticed after %d schedules: %s", seed, w.fails[0])
					return
				}
			}
			t.Error("20000 schedules noticed nothing")
		})
	}
}
