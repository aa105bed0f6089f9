package supervisor

import (
	"fmt"
	"time"
)

// Exit codes of a supervised sidecar. Zero means that its work is done: it handed over, left, or was terminated.
const (
	// ExitCandidate: the handover to this generation failed; the old one serves on.
	ExitCandidate = 10
	// ExitConfig: what it was started with can never work.
	ExitConfig = 11
	// ExitGaveUp: the proxy died again and again before it served.
	ExitGaveUp = 12
)

// Phase is what the child says it is doing. It decides what its death means.
type Phase byte

// Phases of a child.
const (
	Starting  Phase = 's' // serves nothing yet, and nobody waits for it
	Candidate Phase = 'c' // between HELLO and DONE of a handover to it
	Serving   Phase = 'v' // clients depend on it
	Gave      Phase = 'g' // a successor serves: whatever its end looks like, it is not started again
)

// Limits of restarts.
const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// steady is how long a child has to live for its predecessors' deaths to be forgotten.
	steady = 30 * time.Second
	// maxStarts is how often a child that never served is started.
	maxStarts = 5
	// margin is kept of the grace period for the supervisor's own exit, before the kubelet kills both.
	margin = time.Second
)

// Event is one thing that happened, at a time.
type Event struct {
	At   time.Time
	What What
	// Code and Signal of Exited; Signal is 0 when the child exited by itself.
	Code, Signal int
	// Phase of Said.
	Phase Phase
	// Words of Said, the child's explanation of what it is about to do.
	Words string
}

// What happened.
type What int

// The events.
const (
	Begun  What = iota // the supervisor has started
	Exited             // the child ended
	Beat               // the child is alive
	Said               // the child told its phase or last words
	Term               // SIGTERM or SIGINT
	Tick               // the time that Wake gave has come
)

// Action is one thing to do.
type Action struct {
	Do Do
	// Code and Reason of Exit, and Reason of Kill.
	Code   int
	Reason string
	// Grace of TellTerm: how long the child may still serve.
	Grace time.Duration
}

// Do is the kind of an Action.
type Do int

// The actions.
const (
	Start    Do = iota // start a child and give it what is stored
	Kill               // SIGKILL the child: nothing weaker reaches a stopped one
	TellTerm           // tell the child that its time is limited
	Exit               // drop every stored descriptor and end with Code
)

// Machine decides what the supervisor does. It does no I/O and reads no clock.
type Machine struct {
	// Silence is how long a child may say nothing before it is killed.
	Silence time.Duration
	// Grace is how long it may live after Term.
	Grace time.Duration

	running   bool
	phase     Phase
	words     string
	started   time.Time
	lastBeat  time.Time
	failures  int       // deaths in a row, each after less than steady
	restartAt time.Time // when not running
	killed    string    // why the child was killed, until it is gone
	deadline  time.Time // end of the grace period; zero before Term
	over      bool
}

// Step advances the machine by one event and returns what to do now, in order.
func (m *Machine) Step(e Event) []Action {
	if m.over {
		return nil
	}
	switch e.What {
	case Begun:
		return m.start(e.At)
	case Beat:
		m.lastBeat = e.At
	case Said:
		if e.Phase != 0 {
			m.phase = e.Phase
		}
		if e.Words != "" {
			m.words = e.Words
		}
	case Exited:
		return m.exited(e)
	case Term:
		return m.term(e.At)
	case Tick:
		return m.tick(e.At)
	}
	return nil
}

// Wake returns when a Tick is due next; zero for never.
func (m *Machine) Wake() time.Time {
	var next time.Time
	earliest := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	switch {
	case m.over:
	case m.running && m.killed == "":
		earliest(m.lastBeat.Add(m.Silence))
		earliest(m.deadline)
	case !m.running:
		earliest(m.restartAt)
	}
	return next
}

func (m *Machine) start(now time.Time) []Action {
	m.running, m.started, m.lastBeat = true, now, now
	m.phase, m.words, m.killed, m.restartAt = Starting, "", "", time.Time{}
	acts := []Action{{Do: Start}}
	if !m.deadline.IsZero() {
		acts = append(acts, Action{Do: TellTerm, Grace: m.deadline.Sub(now)})
	}
	return acts
}

func (m *Machine) exit(code int, reason string) []Action {
	m.over = true
	return []Action{{Do: Exit, Code: code, Reason: reason}}
}

func (m *Machine) exited(e Event) []Action {
	m.running = false
	how := m.describe(e)
	switch {
	case e.Signal == 0 && e.Code == 0 || m.phase == Gave:
		return m.exit(0, how)
	case e.Signal == 0 && (e.Code == ExitCandidate || e.Code == ExitConfig):
		return m.exit(e.Code, how)
	case m.phase == Candidate:
		return m.exit(ExitCandidate, "the candidate died in its handover: "+how)
	}
	if !m.deadline.IsZero() && (m.phase != Serving || !e.At.Add(margin).Before(m.deadline)) {
		return m.exit(0, how+" while it was terminating")
	}
	if e.At.Sub(m.started) >= steady {
		m.failures = 0
	}
	m.failures++
	if m.phase != Serving && m.failures >= maxStarts {
		return m.exit(ExitGaveUp, fmt.Sprintf("%d starts in a row ended before it served; the last: %s", m.failures, how))
	}
	m.restartAt = e.At.Add(m.backoff())
	if m.restartAt.Equal(e.At) {
		return m.start(e.At)
	}
	return nil
}

// backoff is nothing after the first death: its listeners are kept, so whoever connects meanwhile only waits.
func (m *Machine) backoff() time.Duration {
	if m.failures <= 1 {
		return 0
	}
	d := firstBackoff << min(m.failures-2, 10)
	return min(d, maxBackoff)
}

func (m *Machine) describe(e Event) string {
	how := fmt.Sprintf("the proxy exited with code %d", e.Code)
	if e.Signal != 0 {
		how = fmt.Sprintf("the proxy was ended by signal %d", e.Signal)
	}
	if m.killed != "" {
		how += " (" + m.killed + ")"
	}
	if m.words != "" {
		how += ": " + m.words
	}
	return how
}

func (m *Machine) term(now time.Time) []Action {
	if !m.deadline.IsZero() {
		return nil
	}
	grace := max(m.Grace-margin, margin)
	m.deadline = now.Add(grace)
	if !m.running {
		return m.exit(0, "terminated between two starts of the proxy")
	}
	return []Action{{Do: TellTerm, Grace: grace}}
}

func (m *Machine) tick(now time.Time) []Action {
	if !m.running {
		if !m.restartAt.IsZero() && !now.Before(m.restartAt) {
			return m.start(now)
		}
		return nil
	}
	if m.killed != "" {
		return nil
	}
	switch {
	case !m.deadline.IsZero() && !now.Before(m.deadline):
		m.killed = "its grace period was over"
	case now.Sub(m.lastBeat) >= m.Silence:
		m.killed = fmt.Sprintf("it was silent for %s", m.Silence)
	default:
		return nil
	}
	return []Action{{Do: Kill, Reason: m.killed}}
}
