package slot

import (
	"time"
)

// Times of a Machine.
const (
	// patience is how long a slot that is not first in line lets the other one take a free lock.
	patience = 5 * time.Second
	// look is how often a lock is looked at that is left to the other slot.
	look = 100 * time.Millisecond
	// verdictAfter is how long a failed candidate waits for the lock before it believes that the other slot serves on.
	verdictAfter = 300 * time.Millisecond
	// candidateEnds is how long a candidate in its handover may go on when nobody else is left to serve.
	candidateEnds = 2 * time.Second
	// staleAfter is how long a slot whose image was changed waits to be ended by the kubelet. The file is here up to a second before: a container
	// that ended by itself would be missing until the kubelet looks again, and its pod would not be ready.
	staleAfter = 20 * time.Second
)

// Machine decides what one slot does. It does no I/O and reads no clock.
//
// The truth of who serves is the lock. The file says who should: it decides who goes first when nobody does, and that a higher
// generation is a candidate. Whatever the file says, a slot takes over when the other one is gone.
type Machine struct {
	// Failed is the generation whose candidate failed here before, 0 for none.
	Failed int64

	own, serving int64
	child        child
	phase        Phase
	stopping     bool // Stop or Leave was said to the child
	declined     bool // the candidate ended by itself, and nothing has changed since
	stale        bool // the file gives this slot another generation now
	wasZero      bool // the file said that nobody is to serve
	lock         lockState
	seenHeld     bool      // somebody else served while this slot looked
	freeSince    time.Time // when the lock was first seen free; zero while it is held
	tickAt       time.Time // next Look
	stopAt       time.Time // end of candidateEnds
	verdictAt    time.Time // end of verdictAfter
	staleAt      time.Time // end of staleAfter
	verdict      Action    // Exit of a failed candidate
	terminated   bool
	exit         *Action // carried out when the child has ended
	over         bool
}

type child int

const (
	none child = iota
	candidate
	server
)

type lockState int

const (
	unlocked lockState = iota
	looking            // Look was said
	waiting            // Wait was said
	held               // obtained, and not with a child yet
)

// Step advances the machine by one event and returns what to do now, in order.
func (m *Machine) Step(e Event) []Action {
	if m.over {
		return nil
	}
	switch e.What {
	case File:
		return m.file(e)
	case Seen:
		return m.seen(e)
	case Obtained:
		return m.obtained(e)
	case Is:
		return m.is(e)
	case Ended:
		return m.ended(e)
	case Term:
		return m.term()
	case Tick:
		return m.tick(e)
	}
	return nil
}

// Wake returns when a Tick is due next; zero for never.
func (m *Machine) Wake() time.Time {
	var next time.Time
	for _, t := range []time.Time{m.tickAt, m.stopAt, m.verdictAt, m.staleAt} {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// Settled says whether this slot does what it is for, listeners aside: it serves, waits to take over, or idles.
func (m *Machine) Settled() bool {
	switch {
	case m.own == 0:
		return false
	case m.child == server:
		return m.phase == Serving
	case m.child == candidate, m.serving == 0:
		return true
	}
	return m.seenHeld || !m.freeSince.IsZero()
}

func (m *Machine) file(e Event) []Action {
	if m.own == 0 {
		m.own = e.Own
	}
	switch m.stale = e.Own != m.own; {
	case !m.stale:
		m.staleAt = time.Time{}
	case m.staleAt.IsZero():
		m.staleAt = e.At.Add(staleAfter)
	}
	if e.Serving == m.serving && (e.Serving != 0 || m.wasZero) {
		return nil
	}
	m.serving, m.declined = e.Serving, false
	m.wasZero = m.wasZero || e.Serving == 0
	if m.serving == 0 {
		return m.idle()
	}
	return m.strive(e.At)
}

// idle ends what is going on: nobody is to serve.
func (m *Machine) idle() []Action {
	m.tickAt, m.stopAt = time.Time{}, time.Time{}
	m.seenHeld, m.freeSince = false, time.Time{} // when somebody is to serve again, the file says who goes first
	var acts []Action
	if m.lock == held {
		m.lock = unlocked
		acts = append(acts, Action{Do: Release})
	}
	switch {
	case m.child == server && m.phase == Serving:
		m.stopping = true
		return append(acts, Action{Do: Leave})
	case m.child == candidate && m.phase == Taking:
		return acts // if it takes over, it leaves
	case m.child != none:
		return append(acts, m.stop("nobody is to serve")...)
	}
	return append(acts, Action{Do: Forget})
}

// strive goes for what the file asks of this slot.
func (m *Machine) strive(now time.Time) []Action {
	if m.exit != nil || m.terminated || m.own == 0 || m.serving == 0 || m.child == server || !m.verdictAt.IsZero() {
		return nil
	}
	var acts []Action
	if m.child == none && m.lock != held && m.own > m.serving && m.own != m.Failed && !m.declined {
		m.child, m.phase, m.stopping = candidate, Starting, false
		acts = append(acts, Action{Do: Candidate})
	}
	switch m.lock {
	case unlocked:
		m.lock, m.tickAt = looking, time.Time{}
		acts = append(acts, Action{Do: Look})
	case held:
		acts = append(acts, m.take(now)...)
	}
	return acts
}

func (m *Machine) seen(e Event) []Action {
	if m.lock != looking {
		return nil
	}
	m.lock = unlocked
	if m.serving == 0 || m.exit != nil {
		return nil
	}
	if e.Held {
		m.seenHeld, m.freeSince = true, time.Time{}
	} else if m.verdictAt.IsZero() && !m.mayTake(e.At, false) {
		return m.patient(e.At)
	}
	m.lock = waiting
	return []Action{{Do: Wait}}
}

// patient leaves a free lock to the other slot for a while.
func (m *Machine) patient(now time.Time) []Action {
	if m.freeSince.IsZero() {
		m.freeSince = now
	}
	m.tickAt = now.Add(look)
	return nil
}

// mayTake says whether this slot is the one to take a free lock.
func (m *Machine) mayTake(now time.Time, left bool) bool {
	switch {
	case !m.freeSince.IsZero() && now.Sub(m.freeSince) >= patience:
		return true
	case left && !m.wasZero, m.own == m.Failed:
		return false
	}
	return m.own == m.serving || m.seenHeld
}

func (m *Machine) obtained(e Event) []Action {
	m.lock = held
	if m.serving == 0 || m.terminated {
		m.lock = unlocked
		return []Action{{Do: Release}}
	}
	if m.exit != nil || m.child == server {
		return nil
	}
	if e.Held {
		m.seenHeld, m.freeSince = true, time.Time{}
	}
	if m.verdictAt.IsZero() && !m.mayTake(e.At, e.Left) {
		m.lock = unlocked
		return append([]Action{{Do: Release}}, m.patient(e.At)...)
	}
	return m.take(e.At)
}

// take serves with the lock that is held, once the candidate is gone.
func (m *Machine) take(now time.Time) []Action {
	m.verdictAt = time.Time{}
	switch {
	case m.child == none:
		m.child, m.phase, m.stopping, m.lock = server, Starting, false, unlocked
		m.freeSince, m.seenHeld, m.wasZero = time.Time{}, false, false
		return []Action{{Do: Serve}}
	case m.stopping:
		return nil
	case m.phase == Starting:
		return m.stop("nobody else serves")
	}
	m.stopAt = now.Add(candidateEnds)
	return nil
}

func (m *Machine) stop(why string) []Action {
	if m.stopping && m.child == candidate {
		return nil
	}
	m.stopping = true
	return []Action{{Do: Stop, Reason: why}}
}

func (m *Machine) is(e Event) []Action {
	before := m.phase
	m.phase = e.Phase
	if e.Phase != Serving || before == Serving || m.child == none {
		return nil
	}
	acts := []Action{{Do: Own}}
	if m.child == candidate { // it has taken over, and too late for a Stop it has the connections
		m.child, m.stopping, m.stopAt = server, false, time.Time{}
		m.seenHeld, m.freeSince, m.wasZero = false, time.Time{}, m.serving == 0
	}
	if m.serving == 0 {
		m.stopping = true
		acts = append(acts, Action{Do: Leave})
	}
	return acts
}

func (m *Machine) ended(e Event) []Action {
	was, stopped := m.child, m.stopping
	m.child, m.phase, m.stopping, m.stopAt = none, Starting, false, time.Time{}
	var acts []Action
	switch {
	case m.exit != nil:
		return m.finish(*m.exit)
	case m.terminated:
		return m.finish(Action{Code: 0, Reason: e.Reason})
	case m.stale:
		return m.finish(Action{Code: 0, Reason: "this slot is another generation now"})
	case was == candidate && stopped:
	case was == candidate && e.Code == 0:
		m.declined = true
	case e.Code != 0:
		m.verdict = Action{Code: e.Code, Reason: e.Reason}
		if was == server {
			return m.finish(m.verdict)
		}
		if m.lock != held {
			m.verdictAt = e.At.Add(verdictAfter)
			if m.lock == unlocked {
				m.lock, m.tickAt = waiting, time.Time{}
				return []Action{{Do: Wait}}
			}
			return nil
		}
	case e.Gave:
		m.seenHeld, m.declined = true, true // the file may not know yet that this generation's time is over
	default:
		m.declined = true
		acts = append(acts, Action{Do: Forget})
	}
	if m.serving == 0 {
		return append(acts, m.idle()...)
	}
	return append(acts, m.strive(e.At)...)
}

// leaveWith ends this process, the child first.
func (m *Machine) leaveWith(code int, why string) []Action {
	end := Action{Code: code, Reason: why}
	if m.child == none {
		return m.finish(end)
	}
	m.exit = &end
	return m.stop(why)
}

func (m *Machine) finish(end Action) []Action {
	m.over = true
	m.tickAt, m.stopAt, m.verdictAt = time.Time{}, time.Time{}, time.Time{}
	end.Do = Exit
	return []Action{end}
}

// term ends an empty slot at once. A child hears of it from its supervision, and the slot ends with it.
func (m *Machine) term() []Action {
	m.terminated = true
	if m.child == none {
		return m.finish(Action{Code: 0, Reason: "terminated"})
	}
	return nil
}

func (m *Machine) tick(e Event) []Action {
	due := func(at *time.Time) bool {
		if at.IsZero() || e.At.Before(*at) {
			return false
		}
		*at = time.Time{}
		return true
	}
	if due(&m.verdictAt) {
		return append([]Action{{Do: Fail, Reason: m.verdict.Reason}}, m.finish(m.verdict)...)
	}
	if due(&m.staleAt) && m.stale && (m.child != server || m.phase != Serving) { // clients come first: one that serves ends when it has handed over
		return m.leaveWith(0, "this slot is another generation now, and the kubelet has not ended it")
	}
	if due(&m.stopAt) {
		return m.stop("its handover does not end, and nobody else serves")
	}
	if due(&m.tickAt) {
		return m.strive(e.At)
	}
	return nil
}
