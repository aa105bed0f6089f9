// Package handover moves the listening sockets and the live connections of a running sidecar to the next one.
//
// Two processes that share nothing but a Unix socket take part: the donor, which serves, and the candidate, which is
// about to. Each side is a pure state machine (DonorMachine, CandidateMachine) inside a thin shell (Serve, Take) that
// does the I/O. The machines know no clock, no descriptor and no connection; replaying their events replays a handover.
//
// The order of a handover:
//
//	HELLO   candidate: who I am, which versions I read   donor: the plan, or why not
//	WARM    donor: state and every listening descriptor  candidate: taken
//	READY   candidate: my own checks pass
//	ACCEPT  donor: accept                                candidate: accepting; then the donor pauses
//	MOVE    per batch: freeze, OFFER, PREPARED (both for each part of it), COMMIT, RESUMED, release
//	DONE    donor: DONE                                  candidate: DONE_ACK, after its last relay
//	        donor: everything bounced that came before DONE_ACK, then BYE; its process may exit
//
// Who owns a batch is decided by one fact, on which both sides agree whatever breaks: whether RESUMED entered the
// donor's receive queue. The candidate does no I/O before the kernel took RESUMED. The donor, once it has sent COMMIT,
// takes a batch back only behind a fence: it shuts its receiving direction down, which makes the kernel refuse every later
// RESUMED, and reads what was queued before to its end. RESUMED found there means that the candidate owns the batch;
// not found means that it never will. So a torn socket, a stopped candidate and a dead one need no telling apart.
package handover

import (
	"fmt"
	"time"
)

// Phase is where a handover stands.
type Phase uint8

// The phases, in order. Retain, Rollback and Finalize are not entered yet: after Done the donor leaves at once. They
// have their numbers because they travel in reports, and their place because the machines are written around them:
// Retain follows Done (the donor keeps duplicates of what it released), Rollback is the same protocol reversed,
// Finalize is the donor's farewell.
const (
	PhaseHello Phase = iota
	PhaseWarm
	PhaseReady
	PhaseAccept
	PhaseMove
	PhaseDone
	PhaseRetain
	PhaseRollback
	PhaseFinalize
)

var phaseNames = [...]string{"Hello", "Warm", "Ready", "Accept", "Move", "Done", "Retain", "Rollback", "Finalize"}

// String is the name used in Result.Step.
func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return fmt.Sprintf("Phase(%d)", uint8(p))
}

// Deadlines bound the time that one side waits for the other. A zero field means the default.
type Deadlines struct {
	// Hello: from the authenticated connection to the plan (5 s).
	Hello time.Duration
	// Warm: until the state and the sockets are there, and until they are taken (30 s).
	Warm time.Duration
	// Ready: until the candidate's own checks pass, and until the donor asks it to accept (60 s).
	Ready time.Duration
	// Accept: until the candidate accepts (5 s).
	Accept time.Duration
	// Prepare: from an offer to PREPARED, of a batch in parts from the first to the last. The batch's connections are frozen
	// meanwhile (5 s).
	Prepare time.Duration
	// Commit: from COMMIT to RESUMED, after which the donor fences the candidate off (5 s).
	Commit time.Duration
	// Move: the candidate's patience between two steps of a move (15 s).
	Move time.Duration
	// Done: until DONE_ACK, and until BYE (15 s).
	Done time.Duration
}

// Defaulted fills in the defaults.
func (d Deadlines) Defaulted() Deadlines {
	set := func(f *time.Duration, v time.Duration) {
		if *f <= 0 {
			*f = v
		}
	}
	set(&d.Hello, 5*time.Second)
	set(&d.Warm, 30*time.Second)
	set(&d.Ready, 60*time.Second)
	set(&d.Accept, 5*time.Second)
	set(&d.Prepare, 5*time.Second)
	set(&d.Commit, 5*time.Second)
	set(&d.Move, 15*time.Second)
	set(&d.Done, 15*time.Second)
	return d
}

// EventKind says what happened.
type EventKind uint8

// The events of both machines.
const (
	// EventStart: both ends have proved that they know the key.
	EventStart EventKind = iota
	// EventMessage: Message arrived.
	EventMessage
	// EventSent: the kernel took the message of kind Message.Kind with Message.ID. Only RESUMED and BYE are reported.
	EventSent
	// EventTimer: the timer Seq fired.
	EventTimer
	// EventBroken: the peer, or the transport, broke the protocol; Reason says how.
	EventBroken
	// EventSendEnd: nothing more will be sent; what was sent has been reported.
	EventSendEnd
	// EventEOF: nothing more will be received; what arrived before has been reported.
	EventEOF
	// EventLife answers ActLife: Dead says whether the peer's process has ended, Sure whether that is known at all.
	EventLife
	// EventCancel: this process wants out; Reason says why.
	EventCancel
	// EventWarmed answers ActWarm, with Warm on the donor's side; Err when it failed.
	EventWarmed
	// EventReady answers ActReady.
	EventReady
	// EventFrozen answers ActFreeze with Batch.
	EventFrozen
	// EventPrepared answers ActPrepare of batch ID.
	EventPrepared
)

// Event is one thing that happened to a machine.
type Event struct {
	Kind    EventKind
	Message Message
	Seq     uint64
	ID      uint64
	Batch   Batch
	Warm    Warm
	Dead    bool
	Sure    bool
	Err     string
	Reason  string
}

// ActionKind says what to do.
type ActionKind uint8

// The actions of both machines. Those marked (answers) make the shell feed an event back before any other.
const (
	// ActSend queues Message.
	ActSend ActionKind = iota
	// ActTimer arms the only timer to fire with Seq after After; After 0 stops it.
	ActTimer
	// ActPhase reports that the machine entered Phase.
	ActPhase
	// ActFence makes the kernel refuse whatever the peer sends from now on; what is queued still arrives, then EventEOF.
	ActFence
	// ActCloseSend sends what is queued as far as the peer takes it soon, then ends in EventSendEnd.
	ActCloseSend
	// ActLife asks whether the peer's process still lives (answers).
	ActLife
	// ActDiscard closes the descriptors of Message: nobody wants them.
	ActDiscard
	// ActPlan reports the plan in Message.Plan.
	ActPlan
	// ActEnd ends the handover with Result; the shell fills in its times.
	ActEnd

	// Donor: the methods of the interface of that name.

	// ActHold calls HoldConfig(true), ActUnhold HoldConfig(false).
	ActHold
	ActUnhold
	// ActWarm calls Warm; on the donor's side it also lists the sockets (answers).
	ActWarm
	ActPauseAccept
	ActResumeAccept
	// ActBeginMove calls Split(Parts), on the donor's side, and BeginMove.
	ActBeginMove
	ActEndMove
	// ActFreeze calls Freeze(ID, Limit) (answers).
	ActFreeze
	ActThaw
	ActRelease
	// ActRelayed hands over the frames of Message.
	ActRelayed

	// Candidate: the methods of the interface of that name.

	// ActReady calls Ready (answers).
	ActReady
	ActAccept
	ActStopAccept
	// ActPrepare calls Prepare with Message.Batch (answers).
	ActPrepare
	ActActivate
	ActDrop
	ActDone
)

// Action is one thing to do.
type Action struct {
	Kind    ActionKind
	Message Message
	Seq     uint64
	After   time.Duration
	Phase   Phase
	ID      uint64
	Limit   int
	Parts   bool
	Result  Result
}

// core is what both machines have in common.
type core struct {
	self      Hello
	deadlines Deadlines
	phase     Phase
	version   uint8
	seq       uint64 // of the armed timer
	out       []Action
	began     bool
	ending    bool   // a reason is set, and the machine waits for the link to run dry
	reason    string // why it ended, for people
	eof, sent bool   // nothing more to receive, to send
	asked     bool   // ActLife is under way
	ended     bool   // ActEnd has been given out
	peerAlive bool   // the peer said itself that it gives up
	peerLeft  bool   // the peer's end of the connection ended first
	freezeP99 int64  // microseconds, as the donor measured it
	parts     bool   // both sides know FeatureParts
}

func (c *core) do(a Action)                   { c.out = append(c.out, a) }
func (c *core) act(k ActionKind)              { c.do(Action{Kind: k}) }
func (c *core) actID(k ActionKind, id uint64) { c.do(Action{Kind: k, ID: id}) }

// send queues a message, written in the version that was agreed.
func (c *core) send(m Message) {
	if m.Kind > KindPlan {
		m.Version = c.version
	}
	c.do(Action{Kind: ActSend, Message: m})
}

// dead judges the answer to ActLife. Where the kernel cannot say it, a connection that the peer ended without a word
// stands for its death; one that this side ended says nothing.
func (c *core) dead(e Event) bool {
	if e.Sure {
		return e.Dead
	}
	return c.peerLeft
}

// speaks reports whether a message is written in the version that was agreed. An abort may come before there is one.
func (c *core) speaks(m Message) bool {
	return m.Kind <= KindPlan || m.Version == c.version || m.Kind == KindAbort && m.Version == 0
}

func (c *core) timer(after time.Duration) {
	c.seq++
	c.do(Action{Kind: ActTimer, Seq: c.seq, After: after})
}

func (c *core) enter(p Phase) {
	c.phase = p
	c.do(Action{Kind: ActPhase, Phase: p})
}

// end gives the result out, once.
func (c *core) end(ok bool, moved, lost int64) {
	c.ended = true
	c.timer(0)
	c.do(Action{Kind: ActEnd, Result: Result{
		From: c.self.From, To: c.self.To, OK: ok, Step: c.phase.String(), Reason: c.reason, Moved: moved, Lost: lost,
		FreezeP99Micros: c.freezeP99,
	}})
}

// discard gives up the descriptors of a message that has no place any more.
func (c *core) discard(m Message) {
	if len(m.descriptors()) > 0 {
		c.do(Action{Kind: ActDiscard, Message: m})
	}
}

// Ended reports whether the machine has given its result out.
func (c *core) Ended() bool { return c.ended }

// Phase is where the machine stands.
func (c *core) Phase() Phase { return c.phase }
