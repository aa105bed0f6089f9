package handover

import (
	"fmt"
	"strings"
)

var actionNames = [...]string{"send", "timer", "phase", "fence", "close-send", "ask-life", "discard", "plan", "end",
	"hold-config", "unhold-config", "warm", "pause-accept", "resume-accept", "begin-move", "end-move", "freeze", "thaw",
	"release", "relayed", "ask-ready", "accept", "stop-accept", "prepare", "activate", "drop", "done"}

// String is how an action reads in a scenario and in a trace.
func (a Action) String() string {
	name := actionNames[a.Kind]
	switch a.Kind {
	case ActSend:
		return "send " + a.Message.String()
	case ActTimer:
		if a.After == 0 {
			return "timer off"
		}
		return "timer " + a.After.String()
	case ActPhase:
		return "phase " + a.Phase.String()
	case ActFreeze:
		return fmt.Sprintf("freeze %d limit %d", a.ID, a.Limit)
	case ActBeginMove:
		if a.Parts {
			return name + " in parts"
		}
	case ActThaw, ActRelease, ActPrepare, ActActivate, ActDrop:
		return fmt.Sprintf("%s %d", name, a.ID)
	case ActDiscard, ActRelayed:
		return name + " " + a.Message.String()
	case ActEnd:
		return "end " + a.Result.String()
	}
	return name
}

// String is how a message reads in a scenario and in a trace: no payload, no secret.
func (m Message) String() string {
	switch m.Kind {
	case KindPrepared, KindCommit, KindResumed:
		return fmt.Sprintf("%s %d", m.Kind, m.ID)
	case KindOffer:
		more := ""
		if m.Batch.More {
			more = " more"
		}
		return fmt.Sprintf("offer %d conns %d%s", m.Batch.ID, len(m.Batch.Conns), more)
	case KindAbort, KindRefuse:
		return fmt.Sprintf("%s %q", m.Kind, m.Reason)
	case KindPlan:
		return fmt.Sprintf("plan version %d", m.Plan.Version)
	case KindRelay:
		return fmt.Sprintf("relay %d", len(m.Relays))
	}
	return m.Kind.String()
}

// String is the result in one line.
func (r Result) String() string {
	var b strings.Builder
	if r.OK {
		b.WriteString("ok")
	} else {
		b.WriteString("aborted")
	}
	fmt.Fprintf(&b, " step=%s moved=%d lost=%d", r.Step, r.Moved, r.Lost)
	if r.Reason != "" {
		fmt.Fprintf(&b, " reason=%q", r.Reason)
	}
	return b.String()
}
