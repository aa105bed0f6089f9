package app

import (
	"cmp"
	"fmt"
	"time"

	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/supervisor"
)

// phase is where the life of a process stands.
type phase int

const (
	starting  phase = iota // serves nothing, waits for what it needs
	taking                 // a handover to this process goes on
	serving                // this process is the one
	leaving                // serves until its last client has gone
	lingering              // a failed candidate that still owns connections
	over
)

func (p phase) String() string {
	return [...]string{"starting", "taking over", "serving", "leaving", "lingering", "over"}[p]
}

// Bounds of waiting for clients.
const (
	// leaveFor is how long a leaving sidecar waits for clients that keep idle connections.
	leaveFor = 10 * time.Minute
	// lingerFor is the same for a failed candidate: its clients have nobody else.
	lingerFor = 10 * time.Minute
	// unwantedFor is how long a candidate is not wanted any more before it believes it: a replica of the operator may
	// say for a moment what was wanted earlier.
	unwantedFor = 30 * time.Second
)

// wish is what the operator wants, translated.
type wish struct {
	generation, predecessor int64
	begin, leave            bool
	key                     string
}

// event is one thing that happened. Exactly one field is set, besides result's err.
type event struct {
	begun      bool
	wish       *wish
	configured bool // there is a configuration with listeners
	taken      *handover.Result
	owns       bool             // with taken: connections are open here
	donated    *handover.Result // a handover from here ended
	left       bool             // no client is connected any more
	deadline   bool             // the timer of the last actTimer
	term       *time.Duration   // asked to end, with the time that is left
	appGone    bool             // the application's ports are closed
	unserved   bool             // the slots' file says that nobody is to serve
}

// action is one thing to do.
type action struct {
	do   doing
	from int64         // actTake: whom from
	to   int64         // actOffer: whom to
	key  string        // actTake, actOffer; actOffer without a key withdraws
	wait time.Duration // actTimer
	code int           // actFinish
	why  string        // actFinish, actLeave
}

type doing int

const (
	actServe    doing = iota // apply the configuration, accept, open the admin's sockets
	actTake                  // take over
	actTook                  // the handover went well: this process serves
	actOffer                 // let that candidate begin, or withdraw
	actUnlock                // let go of the slots' lock that came with a handover which failed
	actLeave                 // tell clients and finish when they have gone
	actWatchApp              // tell when the application's ports are closed
	actTimer                 // replace the timer
	actFinish                // end the process
)

// life decides what a process does next. It does no I/O and reads no clock.
type life struct {
	own int64
	// operated is true when an operator says what to do. takeover is true for a standalone process that was started as a
	// candidate. restarted is true for a child whose predecessor served: its listeners are here.
	operated, takeover, restarted bool
	// inPlace means that SIGTERM comes before the application's.
	inPlace bool
	// slot means that whoever holds the slots' lock serves, whatever is wished: restarted says that this process does.
	slot bool

	phase      phase
	configured bool
	wish       wish
	offered    wish
	terminated bool
	wanted     bool   // this generation was wanted once
	unwanted   bool   // it waits to end
	why        string // of leaving and lingering, for the last words
}

// step advances by one event and returns what to do now, in order.
func (l *life) step(e event) []action {
	if l.phase == over {
		return nil
	}
	switch {
	case e.begun && l.takeover:
		l.phase = taking
		return []action{{do: actTake}}
	case e.wish != nil:
		l.wish = *e.wish
	case e.configured:
		l.configured = true
	case e.taken != nil:
		return l.taken(*e.taken, e.owns)
	case e.donated != nil:
		return l.donated(*e.donated)
	case e.left || e.deadline:
		return l.ended(e)
	case e.term != nil:
		return l.term(*e.term)
	case e.unserved:
		if l.phase == serving && !l.terminated {
			return l.leave("nobody is to serve this pod", leaveFor)
		}
	case e.appGone:
		if l.phase == serving {
			return l.leave("the application has gone", 0)
		}
	}
	return l.decide()
}

// decide compares what is with what is wanted; it is level-triggered.
func (l *life) decide() []action {
	switch l.phase {
	case starting:
		return l.begin()
	case serving:
		return l.offer()
	}
	return nil
}

func (l *life) begin() []action {
	mine := l.wish.generation == l.own
	if l.operated && !l.restarted && (!mine || l.wish.leave) {
		return l.wait()
	}
	l.wanted, l.unwanted = true, false
	switch {
	case !l.operated || l.restarted || l.wish.predecessor == 0 && !l.slot:
		if l.configured {
			l.phase = serving
			return append([]action{{do: actServe}}, l.offer()...)
		}
	case l.wish.begin && l.wish.key != "":
		l.phase = taking
		return []action{{do: actTake, from: l.wish.predecessor, key: l.wish.key}}
	}
	return nil
}

// wait is for a generation that is not wanted: not yet, or not any more.
func (l *life) wait() []action {
	switch {
	case l.wish.generation > l.own:
		return l.finish(0, fmt.Sprintf("generation %d is wanted, this is %d and never served", l.wish.generation, l.own))
	case l.wish.generation == l.own:
		return l.finish(0, "asked to leave before it served")
	case (l.wanted || l.wish.leave) && !l.unwanted:
		l.unwanted, l.why = true, fmt.Sprintf("generation %d serves on and this one (%d) is not wanted any more", l.wish.generation, l.own)
		return []action{{do: actTimer, wait: unwantedFor}}
	}
	return nil
}

// offer lets the wanted successor begin, and nobody else.
func (l *life) offer() []action {
	if !l.operated || l.terminated {
		return nil
	}
	if l.wish.leave && l.wish.generation >= l.own {
		return l.leave("asked to leave", leaveFor)
	}
	next := l.wish
	if next.generation > l.own && next.predecessor != l.own && !l.slot {
		return l.leave(fmt.Sprintf("generation %d is wanted, and not from this one (%d)", next.generation, l.own), leaveFor)
	}
	if next.generation <= l.own || next.predecessor != l.own || !next.begin || next.key == "" {
		next = wish{}
	}
	if next == l.offered {
		return nil
	}
	l.offered = next
	return []action{{do: actOffer, to: next.generation, key: next.key}}
}

func (l *life) taken(r handover.Result, owns bool) []action {
	if r.OK {
		l.phase = serving
		return append([]action{{do: actTook}}, l.offer()...)
	}
	l.why = fmt.Sprintf("handover from generation %d to %d failed at %s: %s", r.From, r.To, r.Step, r.Reason)
	if !owns {
		return l.finish(supervisor.ExitCandidate, l.why)
	}
	l.phase = lingering
	acts := []action{{do: actLeave, why: l.why}, {do: actTimer, wait: lingerFor}}
	if l.slot {
		acts = append([]action{{do: actUnlock}}, acts...)
	}
	return acts
}

func (l *life) donated(r handover.Result) []action {
	if r.OK {
		return l.finish(0, fmt.Sprintf("handed over to generation %d", r.To))
	}
	l.offered = wish{} // the same wish may be offered again
	return l.decide()
}

// leave serves on until the last client has gone. wait 0 leaves the timer alone.
func (l *life) leave(why string, wait time.Duration) []action {
	l.phase, l.why = leaving, why
	acts := []action{{do: actOffer}, {do: actLeave, why: why}}
	if wait > 0 {
		acts = append(acts, action{do: actTimer, wait: wait})
	}
	return acts
}

func (l *life) ended(e event) []action {
	switch {
	case l.phase == starting && !l.unwanted: // it is wanted again
		return nil
	case l.phase == lingering:
		return l.finish(supervisor.ExitCandidate, l.why)
	case l.phase == leaving && e.left:
		return l.finish(0, l.why+", and its last client has gone")
	case e.deadline:
		return l.finish(0, l.why+", and its time is up")
	}
	return nil
}

func (l *life) term(grace time.Duration) []action {
	first := !l.terminated
	l.terminated = true
	if grace <= 0 || l.phase == starting {
		return l.finish(0, "terminated")
	}
	timer := action{do: actTimer, wait: grace}
	switch {
	case l.phase != serving || !first:
		l.why = cmp.Or(l.why, "terminated")
		return []action{timer}
	case l.inPlace:
		l.why = "terminated"
		return []action{timer, {do: actWatchApp}}
	default:
		return l.leave("terminated", grace)
	}
}

func (l *life) finish(code int, why string) []action {
	l.phase, l.why = over, why
	return []action{{do: actFinish, code: code, why: why}}
}
