package handover

import "fmt"

// DonorConfig is what a donor's machine decides by.
type DonorConfig struct {
	Self Hello
	// Descriptors is how many will move, or negative when it is not known.
	Descriptors int64
	// BatchLimit is the most connections in a batch; 0 means DefaultBatchLimit.
	BatchLimit int
	Deadlines  Deadlines
}

// DefaultBatchLimit is how many connections move together.
const DefaultBatchLimit = 64

// DonorMachine decides for the serving side.
type DonorMachine struct {
	core
	need    int64
	max     int // connections in a batch
	limit   int // in the next one; lowered by heavy states
	nextID  uint64
	batch   donorBatch
	moved   int64
	bounced bool // DONE_ACK is here
	held    bool
	paused  bool
	moving  bool
}

// donorBatch is the one batch that is frozen and not yet released.
type donorBatch struct {
	id        uint64 // 0: none
	conns     int64
	more      bool // a further part follows
	asked     bool // for that
	waits     int  // parts that are offered and not prepared
	committed bool
}

// partWindow is how many parts of a batch are offered before the first of them is prepared: while the candidate works on one,
// the donor writes the next one down. It bounds what waits to be sent.
const partWindow = 2

// NewDonorMachine returns a machine that waits for EventStart.
func NewDonorMachine(cfg DonorConfig) *DonorMachine {
	if cfg.BatchLimit <= 0 {
		cfg.BatchLimit = DefaultBatchLimit
	}
	cfg.BatchLimit = min(cfg.BatchLimit, maxBatchConns)
	return &DonorMachine{
		core: core{self: cfg.Self, deadlines: cfg.Deadlines.Defaulted()},
		need: cfg.Descriptors, max: cfg.BatchLimit, limit: cfg.BatchLimit,
	}
}

// Step advances the machine by one event and returns what to do now, in order. It does no I/O, reads no clock and
// allocates no descriptor: replaying a trace gives the same actions. The slice is valid until the next Step.
func (m *DonorMachine) Step(e Event) []Action {
	m.out = m.out[:0]
	switch e.Kind {
	case EventStart:
		m.began = true
		m.enter(PhaseHello)
		m.timer(m.deadlines.Hello)
	case EventMessage:
		m.message(e.Message)
	case EventWarmed:
		m.warmed(e)
	case EventFrozen:
		m.frozen(e)
	case EventSent:
		if e.Message.Kind == KindBye && !m.ending && !m.ended {
			m.end(true, m.moved, 0)
		}
	case EventTimer:
		if e.Seq == m.seq {
			m.abort("the candidate did not " + m.awaited() + " in time")
		}
	case EventBroken, EventCancel:
		m.abort(e.Reason)
	case EventSendEnd:
		m.sent = true
		m.peerLeft = m.peerLeft || !m.ending
		m.abort("the candidate does not take messages any more")
	case EventEOF:
		m.eof = true
		m.peerLeft = m.peerLeft || !m.ending
		m.abort("the candidate went away")
		m.settle()
	case EventLife:
		m.life(m.dead(e))
	}
	return m.out
}

// awaited names what the machine waits for, for the reason of an abort.
func (m *DonorMachine) awaited() string {
	switch {
	case m.phase == PhaseHello:
		return "say hello"
	case m.phase == PhaseWarm:
		return "take the state"
	case m.phase == PhaseReady:
		return "become ready"
	case m.phase == PhaseAccept:
		return "accept"
	case m.batch.committed:
		return "resume a committed batch"
	case m.phase == PhaseMove:
		return "prepare a batch"
	}
	return "acknowledge the end"
}

func (m *DonorMachine) message(msg Message) {
	switch {
	case m.ended:
		m.discard(msg)
	case !m.speaks(msg):
		m.discard(msg)
		m.abort(fmt.Sprintf("protocol: %s in version %d, agreed was %d", msg.Kind, msg.Version, m.version))
	case msg.Kind == KindRelay:
		m.relayed(msg)
	case msg.Kind == KindResumed && m.batch.id == msg.ID && m.batch.committed:
		m.resumed()
	case m.ending:
		m.discard(msg)
	case msg.Kind == KindAbort:
		m.peerAlive = true
		m.abort("the candidate gave up: " + msg.Reason)
	case !m.next(msg):
		m.discard(msg)
		m.abort("protocol: " + msg.Kind.String() + " in phase " + m.phase.String())
	}
}

// next takes the message that the phase is waiting for; any other one is a protocol error.
func (m *DonorMachine) next(msg Message) bool {
	switch {
	case msg.Kind == KindHello && m.phase == PhaseHello && m.began:
		m.hello(msg.Hello)
	case msg.Kind == KindWarmed && m.phase == PhaseWarm:
		m.enter(PhaseReady)
		m.timer(m.deadlines.Ready)
	case msg.Kind == KindReady && m.phase == PhaseReady:
		m.enter(PhaseAccept)
		m.moving = true // a client that the candidate accepts may need a connection that is still here
		m.send(Message{Kind: KindAccept})
		m.do(Action{Kind: ActBeginMove, Parts: m.parts}) // which may relay at once, and ACCEPT has to come before that
		m.timer(m.deadlines.Accept)
	case msg.Kind == KindAccepting && m.phase == PhaseAccept:
		m.paused = true
		m.act(ActPauseAccept)
		m.enter(PhaseMove)
		m.freeze()
	case msg.Kind == KindPrepared && m.batch.id == msg.ID && m.batch.waits > 0:
		m.prepared()
	case msg.Kind == KindDoneAck && m.phase == PhaseDone && !m.bounced && m.batch.id == 0:
		m.bounced = true
		m.freeze()
	default:
		return false
	}
	return true
}

func (m *DonorMachine) hello(h Hello) {
	plan, err := negotiate(m.self, h, m.need)
	if err != nil {
		m.send(Message{Kind: KindRefuse, Reason: err.Error()})
		m.peerAlive = true
		m.stop("refused: " + err.Error())
		return
	}
	m.version, m.parts = plan.Version, plan.Features&FeatureParts != 0
	msg := Message{Kind: KindPlan, Plan: plan}
	m.send(msg)
	m.do(Action{Kind: ActPlan, Message: msg})
	m.enter(PhaseWarm)
	m.held = true
	m.act(ActHold)
	m.act(ActWarm)
}

func (m *DonorMachine) warmed(e Event) {
	if m.ending || m.ended {
		return
	}
	if e.Err != "" {
		m.abort("warm: " + e.Err)
		return
	}
	m.send(Message{Kind: KindWarm, Warm: e.Warm})
	m.timer(m.deadlines.Warm)
}

// freeze asks for the next batch. After DONE_ACK it is asked once more: a host whose loops work through their mailboxes
// in order has then bounced every frame that came before DONE_ACK.
func (m *DonorMachine) freeze() {
	m.timer(0)
	m.nextID++
	m.do(Action{Kind: ActFreeze, ID: m.nextID, Limit: m.limit})
}

func (m *DonorMachine) frozen(e Event) {
	n, first := int64(len(e.Batch.Conns)), m.batch.id == 0
	m.batch.asked = false
	switch {
	case m.ending || m.ended:
		if n > 0 {
			m.actID(ActThaw, e.Batch.ID)
		}
	case e.Err != "":
		m.abort("freeze: " + e.Err)
	case n == 0 && !first:
		m.abort("freeze: the rest of a batch is gone")
	case e.Batch.More && !m.parts: // the first, and so the only one
		m.actID(ActThaw, e.Batch.ID)
		m.abort("freeze: a batch in parts, which the candidate does not take")
	case n == 0 && m.bounced:
		m.send(Message{Kind: KindBye, Bye: Bye{Moved: m.moved}})
		m.timer(m.deadlines.Done)
	case n == 0:
		m.enter(PhaseDone)
		m.send(Message{Kind: KindDone})
		m.timer(m.deadlines.Done)
	case first && n > 1 && e.Batch.size() > MaxBatchState:
		m.actID(ActThaw, e.Batch.ID)
		m.limit = max(1, min(int(n)-1, int(n)*MaxBatchState/e.Batch.size()))
		m.freeze()
	case e.Batch.size() > maxBody-batchOverhead:
		if first { // else the abort does it
			m.actID(ActThaw, e.Batch.ID)
		}
		m.abort("freeze: the state of one connection is larger than a handover carries")
	default:
		m.offer(e.Batch, n)
	}
}

func (m *DonorMachine) offer(b Batch, n int64) {
	if m.phase == PhaseDone { // the settling freeze found something: it moves like everything else
		m.bounced = false
		m.enter(PhaseMove)
	}
	first := m.batch.id == 0
	m.batch.id, m.batch.more = b.ID, b.More
	m.batch.conns += n
	m.batch.waits++
	if b.size() < MaxBatchState/4 {
		m.limit = min(m.max, m.limit*2)
	}
	m.send(Message{Kind: KindOffer, Batch: b})
	if first {
		m.timer(m.deadlines.Prepare)
	}
	m.goOn()
}

// goOn asks for the next part of a batch.
func (m *DonorMachine) goOn() {
	if m.batch.more && !m.batch.asked && m.batch.waits < partWindow {
		m.batch.asked = true
		m.do(Action{Kind: ActFreeze, ID: m.batch.id, Limit: m.limit})
	}
}

// prepared commits a batch of which nothing is left to be prepared.
func (m *DonorMachine) prepared() {
	if m.batch.waits--; m.batch.more || m.batch.waits > 0 {
		m.goOn()
		return
	}
	m.batch.committed = true
	m.send(Message{Kind: KindCommit, ID: m.batch.id})
	m.timer(m.deadlines.Commit)
}

func (m *DonorMachine) resumed() {
	m.actID(ActRelease, m.batch.id)
	m.moved += m.batch.conns
	m.batch = donorBatch{}
	if !m.ending {
		m.freeze()
	}
}

func (m *DonorMachine) relayed(msg Message) {
	if m.moving {
		m.do(Action{Kind: ActRelayed, Message: msg})
	} else if !m.ending {
		m.abort("protocol: a relay before the move")
	}
}

// abort gives the handover up and says so.
func (m *DonorMachine) abort(reason string) {
	if m.ending || m.ended {
		return
	}
	if !m.eof && !m.sent && !m.peerAlive && m.began {
		m.send(Message{Kind: KindAbort, Reason: reason})
	}
	m.stop(reason)
}

// stop takes back at once what was not committed, and fences the candidate off: the rest is decided by what it had
// managed to send.
func (m *DonorMachine) stop(reason string) {
	m.ending, m.reason = true, reason
	m.timer(0)
	if m.batch.id != 0 && !m.batch.committed {
		m.actID(ActThaw, m.batch.id)
		m.batch = donorBatch{}
	}
	if !m.eof {
		m.act(ActFence)
	}
}

// settle runs when everything that the candidate ever sent has been seen.
func (m *DonorMachine) settle() {
	if !m.ending || m.asked || m.ended {
		return
	}
	if m.batch.id != 0 {
		m.actID(ActThaw, m.batch.id)
		m.batch = donorBatch{}
	}
	if m.moving {
		m.act(ActEndMove)
	}
	if m.paused {
		m.act(ActResumeAccept)
	}
	if m.held {
		m.act(ActUnhold)
	}
	if m.moved > 0 && !m.peerAlive {
		m.asked = true
		m.act(ActLife)
		return
	}
	m.end(false, m.moved, 0)
}

// life settles the bill: what a dead candidate owned is gone, what a living one owns it serves.
func (m *DonorMachine) life(dead bool) {
	if !m.asked || m.ended {
		return
	}
	lost := int64(0)
	if dead {
		lost = m.moved
	}
	m.end(false, m.moved, lost)
}
