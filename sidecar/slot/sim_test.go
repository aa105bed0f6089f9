package slot

import (
	"math/rand/v2"
	"testing"
	"time"
)

// world is a pod with two machines, one lock and a kubelet, played by chance.
type world struct {
	t      *testing.T
	random *rand.Rand
	now    time.Time
	file   [3]int64 // serving, a, b
	sides  [2]*side
	trace  []string
}

// side is one slot: its machine, and what its shell would hold.
type side struct {
	m       *Machine
	failed  int64
	waiting bool
	holds   bool // obtained, without a child
	child   child
	locked  bool // the child holds the lock
	left    bool // Leave was said
}

func (w *world) held() bool {
	for _, s := range w.sides {
		if s.holds || s.locked {
			return true
		}
	}
	return false
}

func (w *world) boot(i int) {
	w.sides[i] = &side{m: &Machine{Failed: w.sides[i].failed}, failed: w.sides[i].failed}
	w.step(i, Event{What: File, Own: w.file[1+i], Serving: w.file[0]})
}

func (w *world) step(i int, e Event) {
	s := w.sides[i]
	e.At = w.now
	acts := s.m.Step(e)
	w.trace = append(w.trace, string(rune('a'+i))+": "+write(acts))
	for _, a := range acts {
		switch a.Do {
		case Look:
			w.step(i, Event{What: Seen, Held: w.held()})
		case Wait:
			s.waiting = true
		case Release:
			s.holds = false
		case Serve:
			if !s.holds || s.child != none {
				w.fatal("it serves without the lock, or twice")
			}
			s.holds, s.child, s.locked, s.left = false, server, true, false
		case Candidate:
			if s.child != none {
				w.fatal("two children")
			}
			s.child, s.left = candidate, false
		case Stop:
			s.child, s.locked = none, false
			w.step(i, Event{What: Ended})
		case Leave:
			s.left = true
		case Fail:
			s.failed = w.file[1+i]
		case Exit:
			if s.child != none {
				w.fatal("it ends before its child")
			}
			w.boot(i) // by the kubelet
			return
		}
	}
}

func (w *world) fatal(what string) {
	w.t.Helper()
	w.t.Fatalf("%s; the last steps: %q", what, w.trace[max(0, len(w.trace)-20):])
}

// chance lets one thing happen.
func (w *world) chance() {
	i := w.random.IntN(2)
	s, peer := w.sides[i], w.sides[1-i]
	switch w.random.IntN(12) {
	case 0, 1, 2: // time goes by
		w.now = w.now.Add(time.Duration(w.random.IntN(700)) * time.Millisecond)
	case 3: // the proxy serves
		if s.child == server && s.m.phase != Serving {
			w.step(i, Event{What: Is, Phase: Serving})
		}
	case 4: // a handover
		if s.child == candidate && peer.child == server && peer.m.phase == Serving {
			w.step(i, Event{What: Is, Phase: Taking})
			s.child, s.locked = server, true
			w.step(i, Event{What: Is, Phase: Serving})
			peer.child, peer.locked = none, false
			w.step(1-i, Event{What: Ended, Gave: true})
			w.file[0] = w.file[1+i]
		}
	case 5: // one that fails
		if s.child == candidate {
			s.child = none
			w.step(i, Event{What: Ended, Code: 10, Reason: "failed"})
		}
	case 6: // a flip
		if s.child != server {
			w.file[1+i] = max(w.file[1], w.file[2]) + 1
		}
	case 7: // a container dies
		w.boot(i)
	case 8:
		if w.random.IntN(8) == 0 {
			w.file[0] = 0
		}
	case 9:
		if w.file[0] == 0 {
			w.file[0] = max(w.file[1], w.file[2])
		}
	case 10: // what was asked to leave has left
		if s.left && s.child == server {
			s.child, s.locked = none, false
			w.step(i, Event{What: Ended})
		}
	case 11: // the kubelet renews the file
		w.step(i, Event{What: File, Own: w.file[1+i], Serving: w.file[0]})
	}
	w.settle()
}

// settle does what is due at once: timers, and a free lock goes to whoever waits.
func (w *world) settle() {
	for i := range w.sides {
		if at := w.sides[i].m.Wake(); !at.IsZero() && !w.now.Before(at) {
			w.step(i, Event{What: Tick})
		}
	}
	for _, i := range w.random.Perm(2) {
		if s := w.sides[i]; s.waiting && !w.held() {
			s.waiting, s.holds = false, true
			w.step(i, Event{What: Obtained, Held: w.random.IntN(2) == 0})
		}
	}
	if w.sides[0].child == server && w.sides[1].child == server {
		w.fatal("both serve")
	}
}

// TestTwoMachines plays many pods: never do both slots serve, and a pod that is left alone is served, unless nobody is to.
func TestTwoMachines(t *testing.T) {
	for seed := range uint64(3000) {
		w := &world{t: t, random: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_800_000_000, 0), file: [3]int64{2, 2, 1}}
		w.sides = [2]*side{{m: &Machine{}}, {m: &Machine{}}}
		w.boot(0)
		w.boot(1)
		for range 150 {
			w.chance()
		}
		for range 200 { // quiet: the file is read, time goes by, and proxies serve
			w.now = w.now.Add(look)
			for i := range w.sides {
				w.step(i, Event{What: File, Own: w.file[1+i], Serving: w.file[0]})
				if s := w.sides[i]; s.child == server && s.left {
					s.child, s.locked = none, false
					w.step(i, Event{What: Ended})
				} else if s.child == server && s.m.phase != Serving {
					w.step(i, Event{What: Is, Phase: Serving})
				}
			}
			w.settle()
		}
		serves := w.sides[0].child == server || w.sides[1].child == server
		if serves != (w.file[0] != 0) {
			t.Fatalf("seed %d: %+v, served: %t; the last steps: %q", seed, w.file, serves, w.trace[max(0, len(w.trace)-40):])
		}
	}
}
