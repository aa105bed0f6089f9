package handover

import "fmt"

// CandidateConfig is what a candidate's machine decides by.
type CandidateConfig struct {
	Self      Hello
	Deadlines Deadlines
}

// CandidateMachine decides for the side that takes over.
type CandidateMachine struct {
	core
	batch     candidateBatch
	lastID    uint64
	moved     int64
	planned   bool
	accepting bool
	all       bool // the donor has said that it holds nothing
}

// candidateBatch is the one batch that is prepared or about to be.
type candidateBatch struct {
	id    uint64 // 0: none
	loop  int
	conns int64
	size  int
	parts int  // that are prepared
	more  bool // a further one follows
	state batchState
}

// batchState is how far a batch has come on the candidate's side.
type batchState uint8

const (
	batchPreparing batchState = iota + 1 // Prepare runs
	batchPrepared                        // PREPARED is sent; no COMMIT yet
	batchResuming                        // RESUMED is queued, and the kernel has not taken it yet
)

// NewCandidateMachine returns a machine that waits for EventStart.
func NewCandidateMachine(cfg CandidateConfig) *CandidateMachine {
	return &CandidateMachine{core: core{self: cfg.Self, deadlines: cfg.Deadlines.Defaulted()}}
}

// Step advances the machine by one event and returns what to do now, in order. It does no I/O, reads no clock and
// allocates no descriptor: replaying a trace gives the same actions. The slice is valid until the next Step.
func (m *CandidateMachine) Step(e Event) []Action {
	m.out = m.out[:0]
	switch e.Kind {
	case EventStart:
		m.began = true
		m.enter(PhaseHello)
		m.send(Message{Kind: KindHello, Hello: m.self})
		m.timer(m.deadlines.Hello)
	case EventMessage:
		m.message(e.Message)
	case EventWarmed:
		m.warmed(e.Err)
	case EventReady:
		m.ready(e.Err)
	case EventPrepared:
		m.prepared(e.ID, e.Err)
	case EventSent:
		m.resumed(e.Message)
	case EventTimer:
		if e.Seq == m.seq {
			m.abort("the donor did not go on in phase " + m.phase.String() + " in time")
		}
	case EventBroken, EventCancel:
		m.abort(e.Reason)
	case EventSendEnd:
		m.sent = true
		m.peerLeft = m.peerLeft || !m.ending
		m.abort("the donor does not take messages any more")
		m.settle()
	case EventEOF:
		m.eof = true
		m.peerLeft = m.peerLeft || !m.ending
		m.abort("the donor went away")
		m.settle()
	case EventLife:
		m.life(m.dead(e))
	}
	return m.out
}

func (m *CandidateMachine) message(msg Message) {
	switch {
	case m.ended:
		m.discard(msg)
	case !m.speaks(msg):
		m.discard(msg)
		m.abort(fmt.Sprintf("protocol: %s in version %d, agreed was %d", msg.Kind, msg.Version, m.version))
	case msg.Kind == KindRelay && m.accepting:
		m.do(Action{Kind: ActRelayed, Message: msg})
	case m.ending && msg.Kind == KindAbort:
		m.peerAlive = true
	case m.ending && msg.Kind == KindBye && m.all:
		m.reason = ""
	case m.ending:
		m.discard(msg)
	case msg.Kind == KindAbort:
		m.peerAlive, m.all = true, false
		m.stop("the donor gave up: " + msg.Reason)
	case !m.next(msg):
		m.discard(msg)
		m.abort("protocol: " + msg.Kind.String() + " in phase " + m.phase.String())
	}
}

// next takes the message that the phase is waiting for; any other one is a protocol error.
func (m *CandidateMachine) next(msg Message) bool {
	switch {
	case msg.Kind == KindPlan && m.phase == PhaseHello && !m.planned:
		m.plan(msg)
	case msg.Kind == KindRefuse && m.phase == PhaseHello:
		m.peerAlive = true
		m.stop("the donor refused: " + msg.Reason)
	case msg.Kind == KindWarm && m.phase == PhaseWarm:
		m.timer(0)
		m.do(Action{Kind: ActWarm, Message: msg})
	case msg.Kind == KindAccept && m.phase == PhaseAccept:
		m.accepting = true
		m.act(ActBeginMove)
		m.act(ActAccept)
		m.send(Message{Kind: KindAccepting})
		m.enter(PhaseMove)
		m.timer(m.deadlines.Move)
	case msg.Kind == KindOffer && m.accepting && m.fits(msg.Batch):
		m.offer(msg)
	case msg.Kind == KindCommit && m.batch.state == batchPrepared && !m.batch.more && msg.ID == m.batch.id:
		m.batch.state = batchResuming
		m.send(Message{Kind: KindResumed, ID: msg.ID})
		m.timer(m.deadlines.Move)
	case msg.Kind == KindDone && m.phase == PhaseMove && m.batch.id == 0:
		m.all = true
		m.enter(PhaseDone)
		m.act(ActDone)
		m.send(Message{Kind: KindDoneAck})
		m.timer(m.deadlines.Done)
	case msg.Kind == KindBye && m.all:
		m.freezeP99 = msg.Bye.FreezeP99Micros
		m.act(ActEndMove)
		m.end(true, m.moved, 0)
	default:
		return false
	}
	return true
}

func (m *CandidateMachine) plan(msg Message) {
	v := msg.Plan.Version
	if v < m.self.Versions.Min || v > m.self.Versions.Max {
		m.abort("the donor chose a version that this build does not speak")
		return
	}
	if m.self.Required&^msg.Plan.Features != 0 {
		m.abort("the donor left out required features")
		return
	}
	m.planned, m.version, m.parts = true, v, msg.Plan.Features&m.self.Features&FeatureParts != 0
	m.do(Action{Kind: ActPlan, Message: msg})
	m.enter(PhaseWarm)
	m.timer(m.deadlines.Warm)
}

func (m *CandidateMachine) warmed(err string) {
	if m.ending || m.ended {
		return
	}
	if err != "" {
		m.abort("warm: " + err)
		return
	}
	m.send(Message{Kind: KindWarmed})
	m.enter(PhaseReady)
	m.act(ActReady)
}

func (m *CandidateMachine) ready(err string) {
	if m.ending || m.ended {
		return
	}
	if err != "" {
		m.abort("ready: " + err)
		return
	}
	m.send(Message{Kind: KindReady})
	m.enter(PhaseAccept)
	m.timer(m.deadlines.Ready)
}

// fits reports whether a batch, or a part of one, may come now.
func (m *CandidateMachine) fits(b Batch) bool {
	has := m.batch
	switch {
	case len(b.Conns) == 0 || b.More && !m.parts:
		return false
	case has.id == 0:
		return b.ID > m.lastID
	}
	return has.more && has.state == batchPrepared && b.ID == has.id && b.Loop == has.loop &&
		has.conns+int64(len(b.Conns)) <= MaxWholeConns && has.size+b.size() <= MaxWholeState
}

func (m *CandidateMachine) offer(msg Message) {
	if m.phase == PhaseDone { // the donor found something after its last batch
		m.all = false
		m.enter(PhaseMove)
	}
	m.timer(0)
	b := msg.Batch
	m.lastID = b.ID
	m.batch.id, m.batch.loop, m.batch.more, m.batch.state = b.ID, b.Loop, b.More, batchPreparing
	m.batch.conns += int64(len(b.Conns))
	m.batch.size += b.size()
	m.do(Action{Kind: ActPrepare, Message: msg, ID: b.ID})
}

func (m *CandidateMachine) prepared(id uint64, err string) {
	if id != m.batch.id {
		if err == "" { // it came too late: nobody waits for it
			m.actID(ActDrop, id)
		}
		return
	}
	if err != "" { // the host has closed the descriptors
		m.dropParts()
		m.batch = candidateBatch{}
		m.abort("prepare: " + err)
		return
	}
	m.batch.parts++
	m.batch.state = batchPrepared
	m.send(Message{Kind: KindPrepared, ID: id})
	m.timer(m.deadlines.Move)
}

// dropParts gives up what is prepared of a batch whose next part is not.
func (m *CandidateMachine) dropParts() {
	if m.batch.parts > 0 {
		m.actID(ActDrop, m.batch.id)
	}
}

// resumed runs when the kernel has taken RESUMED: from here on the batch is this side's, whatever happens.
func (m *CandidateMachine) resumed(msg Message) {
	if msg.Kind != KindResumed || msg.ID != m.batch.id || m.batch.state != batchResuming {
		return
	}
	m.actID(ActActivate, m.batch.id)
	m.moved += m.batch.conns
	m.batch = candidateBatch{}
	if !m.ending {
		m.timer(m.deadlines.Move)
	}
}

// abort gives the handover up and says so.
func (m *CandidateMachine) abort(reason string) {
	if m.ending || m.ended {
		return
	}
	if !m.eof && !m.sent && m.began && !m.all {
		m.send(Message{Kind: KindAbort, Reason: reason})
	}
	m.stop(reason)
}

// stop gives up a batch that was not committed, and lets the link run dry in both directions: a RESUMED that waits to be
// sent is either taken by the kernel now or never.
func (m *CandidateMachine) stop(reason string) {
	m.ending, m.reason = true, reason
	m.timer(0)
	if m.batch.state == batchPrepared {
		m.actID(ActDrop, m.batch.id)
		m.batch = candidateBatch{}
	}
	if m.batch.state == batchPreparing {
		m.dropParts()
		m.batch = candidateBatch{} // dropped when its answer comes
	}
	if !m.sent {
		m.act(ActCloseSend)
	}
	if !m.eof {
		m.act(ActFence)
	}
}

// settle runs when nothing more can be sent or received.
func (m *CandidateMachine) settle() {
	if !m.ending || !m.eof || !m.sent || m.asked || m.ended {
		return
	}
	if m.batch.id != 0 { // RESUMED was never taken: the donor has it
		m.actID(ActDrop, m.batch.id)
		m.batch = candidateBatch{}
	}
	switch {
	case !m.accepting:
		m.end(false, 0, 0)
	case m.all: // the donor holds nothing, so only this side can serve
		m.act(ActEndMove)
		m.end(true, m.moved, 0)
	case m.peerAlive:
		m.giveBack()
	default:
		m.asked = true
		m.act(ActLife)
	}
}

// life decides who accepts: a dead donor cannot, so the candidate has become the owner and carries on.
func (m *CandidateMachine) life(dead bool) {
	if !m.asked || m.ended {
		return
	}
	if !dead {
		m.giveBack()
		return
	}
	m.act(ActEndMove)
	m.end(true, m.moved, 0)
}

// giveBack leaves accepting to a living donor. What has moved stays here and is served to its end.
func (m *CandidateMachine) giveBack() {
	m.act(ActStopAccept)
	m.act(ActEndMove)
	m.end(false, m.moved, 0)
}
