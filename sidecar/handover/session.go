package handover

import (
	"context"
	"time"

	"github.com/go-logr/logr"
)

// lifeWait is how long a peer whose connection has ended may take to die.
const lifeWait = 200 * time.Millisecond

// machine is a DonorMachine or a CandidateMachine.
type machine interface {
	Step(e Event) []Action
}

// host does what a machine wants from the data plane; it returns the answer if the action has one.
type host func(a Action) *Event

// session runs a machine over a link: one goroutine, which also makes every call to the data plane.
type session struct {
	m       machine
	link    *link
	host    host
	life    int // descriptor of the peer's process, or -1
	clock   func() time.Time
	log     logr.Logger
	onPhase func(Phase)
	onPlan  func(Plan)
	timer   *time.Timer
	result  Result
	ended   bool
}

// run feeds events to the machine until it ends. Answers of the data plane go before everything else.
func (s *session) run(ctx context.Context) Result {
	began := s.clock()
	stop := context.AfterFunc(ctx, func() {
		s.link.post(Event{Kind: EventCancel, Reason: "cancelled: " + context.Cause(ctx).Error()})
	})
	defer stop()
	answers := []Event{{Kind: EventStart}}
	for !s.ended {
		var e Event
		if len(answers) > 0 {
			e, answers = answers[0], answers[1:]
		} else {
			e = s.link.next()
		}
		for _, a := range s.m.Step(e) {
			if ans := s.do(a); ans != nil {
				answers = append(answers, *ans)
			}
		}
	}
	s.finish()
	s.result.DurationMicros = s.clock().Sub(began).Microseconds()
	return s.result
}

// finish says the last words and gives every descriptor of the session back.
func (s *session) finish() {
	if err := s.link.close(); err != nil {
		s.log.Error(err, "cannot close the handover connection cleanly")
	}
	if s.life >= 0 {
		if err := closeAll([]int{s.life}); err != nil {
			s.log.Error(err, "cannot close the peer's process descriptor")
		}
	}
	if n := s.link.out.late(); n > 0 {
		s.log.Info("relays came after the end of the handover", "relays", n)
	}
}

func (s *session) do(a Action) *Event {
	switch a.Kind {
	case ActSend:
		s.link.send(a.Message)
	case ActTimer:
		s.arm(a)
	case ActPhase:
		s.log.V(1).Info("handover phase", "phase", a.Phase.String())
		if s.onPhase != nil {
			s.onPhase(a.Phase)
		}
	case ActFence:
		s.host(a)
		if err := s.link.c.fence(); err != nil {
			s.log.V(1).Info("cannot fence the peer off: it is gone", "reason", err.Error())
		}
	case ActCloseSend:
		s.host(a)
		s.link.closeSend()
	case ActLife:
		return &Event{Kind: EventLife, Dead: peerDead(s.life, lifeWait), Sure: s.life >= 0}
	case ActDiscard:
		if err := closeAll(a.Message.descriptors()); err != nil {
			s.log.Error(err, "cannot close unwanted descriptors")
		}
	case ActPlan:
		s.link.version.Store(uint32(a.Message.Plan.Version))
		if s.onPlan != nil {
			s.onPlan(a.Message.Plan)
		}
	case ActEnd:
		s.result, s.ended = a.Result, true
	default:
		return s.host(a)
	}
	return nil
}

func (s *session) arm(a Action) {
	if s.timer != nil {
		s.timer.Stop()
	}
	if a.After > 0 {
		s.timer = time.AfterFunc(a.After, func() { s.link.post(Event{Kind: EventTimer, Seq: a.Seq}) })
	}
}
