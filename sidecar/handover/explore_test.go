package handover

import (
	"fmt"
	"hash/fnv"
	"slices"
	"testing"
)

// TestExhaustive walks through every order of events of small worlds: all interleavings, every timer at every time, at
// most so many crashes and torn sockets. The worlds are few connections and one request; the machines are the real ones.
func TestExhaustive(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		cfg            simConfig
		crashes, tears int
		others         bool // cancels and failing hosts, too
	}{
		"one connection, two crashes":                  {simConfig{coarse: true, downs: 1, limit: 1, reqs: 0}, 2, 0, false},
		"one connection, one crash, a torn socket":     {simConfig{coarse: true, downs: 1, limit: 1, reqs: 0}, 1, 1, false},
		"one connection, one crash, cancels, failures": {simConfig{coarse: true, downs: 1, limit: 1, reqs: 0}, 1, 0, true},
		"two parts of a batch, one crash":              {simConfig{coarse: true, downs: 2, limit: 2, parts: [2]bool{true, true}}, 1, 0, false},
		"a request over two connections, any timeout":  {simConfig{coarse: true, downs: 1, ups: 1, limit: 1, reqs: 1}, 0, 0, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := explorer{t: t, cfg: tc.cfg, crashes: tc.crashes, tears: tc.tears, others: tc.others, seen: map[uint64]bool{}}
			e.run()
			t.Logf("%d states, %d ends", len(e.seen), e.ends)
			if len(e.seen) < 500 || e.ends == 0 {
				t.Error("the walk did not get far")
			}
		})
	}
}

// explorer does a depth-first search without storing worlds: it plays the choices that lead to a state again.
type explorer struct {
	t              *testing.T
	cfg            simConfig
	crashes, tears int
	others         bool
	seen           map[uint64]bool
	ends           int
}

func (e *explorer) run() {
	stack := [][]choice{nil}
	for len(stack) > 0 {
		path := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		w := newWorld(e.cfg)
		for _, c := range path {
			w.apply(c)
		}
		for { // follow one branch to its end, keep the others
			if len(w.fails) > 0 {
				e.report(w)
				return
			}
			key := w.fingerprint()
			if e.seen[key] {
				break
			}
			e.seen[key] = true
			next := e.next(w)
			if len(next) == 0 {
				e.ends++
				if w.settled(); len(w.fails) > 0 {
					e.report(w)
					return
				}
				break
			}
			for _, c := range next[1:] {
				stack = append(stack, append(slices.Clone(w.trace), c))
			}
			w.apply(next[0])
		}
	}
}

func (e *explorer) report(w *world) {
	e.t.Errorf("%s\nafter %v", w.fails[0], w.trace)
	again := newWorld(e.cfg)
	again.log = e.t.Logf
	for _, c := range w.trace {
		again.log("%s", c)
		again.apply(c)
	}
}

// next lists the choices within the budget of faults.
func (e *explorer) next(w *world) []choice {
	cs := w.choices(false)
	tears, others := 0, 0
	for _, c := range w.trace {
		switch c.op {
		case chTear:
			tears++
		case chCancel, chFail, chBroken:
			others++
		}
	}
	for _, c := range w.faultChoices() {
		switch c.op {
		case chTimer, chGiveUp:
			cs = append(cs, c)
		case chCrash:
			if w.crashes < e.crashes {
				cs = append(cs, c)
			}
		case chTear:
			if tears < e.tears {
				cs = append(cs, c)
			}
		default:
			if e.others && others < 1 {
				cs = append(cs, c)
			}
		}
	}
	return cs
}

// fingerprint names the state of a world, without its past.
func (w *world) fingerprint() uint64 {
	h := fnv.New64a()
	for i, p := range w.procs {
		d := *w.dirs[i]
		fmt.Fprint(h, p.rest, p.dead, p.hungUp, p.accepting, p.moving, p.cut, p.failNext, p.timer > 0, d.fenced, d.closing, d.ended, d.eof)
		for _, m := range d.queue {
			fmt.Fprint(h, "q", m.String())
		}
		for _, m := range d.kernel {
			fmt.Fprint(h, "k", m.String())
		}
		for _, ev := range append(slices.Clone(p.answers), p.inbox...) {
			fmt.Fprint(h, "e", ev.Kind, ev.Message.String(), ev.ID, ev.Seq == p.seqNow(), ev.Dead, ev.Err, len(ev.Batch.Conns))
		}
		for _, a := range p.acts {
			fmt.Fprint(h, "a", a.String())
		}
		for _, c := range p.conns {
			if c != nil {
				fmt.Fprint(h, "c", *c)
			}
		}
		p.print(h)
	}
	for _, s := range w.socks {
		fmt.Fprint(h, "s", *s)
	}
	fmt.Fprint(h, w.torn, w.crashes, w.backlog, w.faults > 0)
	return h.Sum64()
}

func (p *proc) seqNow() uint64 {
	switch m := p.m.(type) {
	case *DonorMachine:
		return m.seq
	case *CandidateMachine:
		return m.seq
	}
	return 0
}

// print writes the machine's state, less what only counts or explains.
func (p *proc) print(h interface{ Write([]byte) (int, error) }) {
	switch m := p.m.(type) {
	case *DonorMachine:
		c := *m
		c.out, c.seq, c.reason, c.self = nil, 0, "", Hello{}
		fmt.Fprintf(h, "%+v", c)
	case *CandidateMachine:
		c := *m
		c.out, c.seq, c.reason, c.self = nil, 0, "", Hello{}
		fmt.Fprintf(h, "%+v", c)
	}
	if p.result != nil {
		r := *p.result
		r.Reason = ""
		fmt.Fprintf(h, "%+v", r)
	}
}
