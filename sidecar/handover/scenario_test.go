package handover

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what the machines do into the scenarios")

// TestScenarios replays the scenarios of testdata: a line with "<-" is an event, the lines with "->" after it are all
// that the machine then does, in order. Timers are left out. "old at PHASE" begins a scenario in the middle: everything
// up to there went well; in Move, batch 1 with 3 connections is frozen and offered. "old at PHASE in parts" agrees on those before.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for text := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n\n") {
			title, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
			t.Run(title, func(t *testing.T) {
				got := replay(t, text)
				out = append(out, got)
				if diff := cmp.Diff(text, got); diff != "" && !*update {
					t.Errorf("%s (-want +got):\n%s", file, diff)
				}
			})
		}
		if *update {
			if err := os.WriteFile(file, []byte(strings.Join(out, "\n\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// replay returns the scenario as it is when its events are fed to fresh machines.
func replay(t *testing.T, text string) string {
	t.Helper()
	self := Hello{From: 1, To: 2, Headroom: 100, Versions: Range{1, 2}, Features: FeatureParts}
	old := &player{name: "old", m: NewDonorMachine(DonorConfig{Self: self, Descriptors: 50, BatchLimit: 3})}
	cand := &player{name: "new", m: NewCandidateMachine(CandidateConfig{Self: self})}
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.Contains(line, " -> ") {
			continue
		}
		out = append(out, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		p := old
		if strings.HasPrefix(line, "new") {
			p = cand
		}
		acts, err := p.line(strings.TrimSpace(line[3:]))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, a := range acts {
			out = append(out, p.name+" -> "+a)
		}
	}
	return strings.Join(out, "\n")
}

// player is one machine of a scenario.
type player struct {
	name string
	m    machine
	seq  uint64
}

func (p *player) line(s string) ([]string, error) {
	if phase, ok := strings.CutPrefix(s, "at "); ok {
		return nil, p.forward(phase)
	}
	s, ok := strings.CutPrefix(s, "<- ")
	if !ok {
		return nil, fmt.Errorf("neither an event nor an action")
	}
	e, err := p.event(s)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, a := range p.m.Step(e) {
		if a.Kind == ActTimer {
			p.seq = a.Seq
			continue
		}
		out = append(out, a.String())
	}
	return out, nil
}

// forward plays the good case up to a phase.
func (p *player) forward(phase string) error {
	steps := []string{"Hello", "start", "Warm", "msg hello", "warmed", "Ready", "msg warmed", "Accept", "msg ready",
		"Move", "msg accepting", "frozen 1 conns 3", "Done", "msg prepared 1", "msg resumed 1", "frozen 2 conns 0"}
	if p.name == "new" {
		steps = []string{"Hello", "start", "Warm", "msg plan", "Ready", "msg warm", "warmed", "Accept", "ready",
			"Move", "msg accept", "msg offer 1", "prepared 1", "Done", "msg commit 1", "sent resumed 1", "msg done"}
	}
	phase, parts := strings.CutSuffix(phase, " in parts")
	reached := false
	for _, s := range steps {
		if parts && (s == "msg hello" || s == "msg plan") {
			s = map[string]string{"msg hello": "msg hello features=1", "msg plan": "msg plan version 2 features 1"}[s]
		}
		if s[0] >= 'A' && s[0] <= 'Z' {
			if reached {
				return nil
			}
			reached = s == phase
			continue
		}
		if _, err := p.line("<- " + s); err != nil {
			return err
		}
	}
	if !reached {
		return fmt.Errorf("no phase %q", phase)
	}
	return nil
}

func (p *player) event(s string) (Event, error) {
	kind, rest, _ := strings.Cut(s, " ")
	switch kind {
	case "start":
		return Event{Kind: EventStart}, nil
	case "msg":
		m, err := p.message(rest)
		return Event{Kind: EventMessage, Message: m}, err
	case "sent":
		m, err := p.message(rest)
		return Event{Kind: EventSent, Message: m}, err
	case "timer":
		return Event{Kind: EventTimer, Seq: p.seq}, nil
	case "old-timer":
		return Event{Kind: EventTimer, Seq: p.seq - 1}, nil
	case "broken":
		return Event{Kind: EventBroken, Reason: rest}, nil
	case "cancelled":
		return Event{Kind: EventCancel, Reason: "cancelled: " + rest}, nil
	case "send-end":
		return Event{Kind: EventSendEnd}, nil
	case "eof":
		return Event{Kind: EventEOF}, nil
	case "peer":
		return Event{Kind: EventLife, Dead: rest == "dead", Sure: rest != "unknown"}, nil
	case "warmed":
		return Event{Kind: EventWarmed, Err: rest}, nil
	case "ready":
		return Event{Kind: EventReady, Err: rest}, nil
	case "frozen":
		return frozenEvent(rest)
	case "prepared":
		e := Event{Kind: EventPrepared}
		_, err := fmt.Sscanf(rest, "%d", &e.ID)
		_, e.Err, _ = strings.Cut(rest, " ")
		return e, err
	}
	return Event{}, fmt.Errorf("unknown event %q", s)
}

func frozenEvent(s string) (Event, error) {
	e := Event{Kind: EventFrozen}
	s, e.Batch.More = strings.CutSuffix(s, " more")
	if err, ok := strings.CutPrefix(s, "error "); ok {
		e.Err = err
		return e, nil
	}
	var conns, mib int
	if n, err := fmt.Sscanf(s, "%d conns %d of %d MiB", &e.Batch.ID, &conns, &mib); n < 2 {
		return e, err
	}
	for range conns {
		e.Batch.Conns = append(e.Batch.Conns, Conn{FD: 9, State: make([]byte, mib<<20)})
	}
	return e, nil
}

// message reads "KIND", "KIND ID" or "KIND key value".
func (p *player) message(s string) (Message, error) {
	name, rest, _ := strings.Cut(s, " ")
	m := Message{Reason: rest}
	for k := range kindEnd {
		if k.String() == name {
			m.Kind = k
		}
	}
	if m.Kind == 0 {
		return m, fmt.Errorf("unknown message %q", name)
	}
	if m.Kind > KindPlan {
		m.Version = 2
	}
	_, _ = fmt.Sscanf(rest, "%d", &m.ID)
	switch m.Kind {
	case KindHello:
		m.Hello = Hello{From: 1, To: 2, Headroom: 100, Versions: Range{1, 2}}
		return m, helloWith(&m.Hello, rest)
	case KindPlan:
		m.Plan.Version = 2
		_, _ = fmt.Sscanf(rest, "version %d features %d", &m.Plan.Version, &m.Plan.Features)
	case KindWarm:
		m.Warm.Sockets = []Socket{{Key: "handover", FD: 8}}
	case KindOffer:
		m.Batch = Batch{ID: m.ID, Conns: []Conn{{FD: 9}, {FD: 10}, {FD: 11}}, More: strings.HasSuffix(rest, " more")}
	case KindRelay:
		m.Relays = []Relay{{}}
		if strings.HasPrefix(rest, "version ") {
			_, _ = fmt.Sscanf(rest, "version %d", &m.Version)
		}
	}
	return m, nil
}

func helloWith(h *Hello, s string) error {
	for pair := range strings.FieldsSeq(s) {
		key, v, _ := strings.Cut(pair, "=")
		var err error
		switch key {
		case "to":
			_, err = fmt.Sscan(v, &h.To)
		case "versions":
			_, err = fmt.Sscanf(v, "%d-%d", &h.Versions.Min, &h.Versions.Max)
		case "headroom":
			_, err = fmt.Sscan(v, &h.Headroom)
		case "features":
			_, err = fmt.Sscan(v, &h.Features)
		case "required":
			_, err = fmt.Sscan(v, &h.Required)
		default:
			err = fmt.Errorf("unknown %q", key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
