package handover

import (
	"slices"
	"testing"
)

// TestPartsAreBounded: a donor that never comes to an end is sent away, and nothing is left of its batch.
func TestPartsAreBounded(t *testing.T) {
	for name, tc := range map[string]struct{ conns, size, parts int }{
		"many connections": {maxBatchConns, 1, MaxWholeConns / maxBatchConns},
		"much state":       {4, 1<<20 - 64, MaxWholeState / (4 << 20)},
	} {
		t.Run(name, func(t *testing.T) {
			p := &player{name: "new", m: NewCandidateMachine(CandidateConfig{
				Self: Hello{From: 1, To: 2, Versions: Range{1, 2}, Features: FeatureParts},
			})}
			if err := p.forward("Accept in parts"); err != nil {
				t.Fatal(err)
			}
			if _, err := p.line("<- msg accept"); err != nil {
				t.Fatal(err)
			}
			part := Batch{ID: 1, More: true, Conns: slices.Repeat([]Conn{{FD: 9, State: make([]byte, tc.size)}}, tc.conns)}
			offer := Event{Kind: EventMessage, Message: Message{Kind: KindOffer, Version: 2, Batch: part}}
			for n := range tc.parts {
				if acts := p.m.Step(offer); len(acts) != 2 || acts[1].Kind != ActPrepare {
					t.Fatalf("part %d: %v", n, acts)
				}
				p.m.Step(Event{Kind: EventPrepared, ID: 1})
			}
			var did []ActionKind
			for _, a := range p.m.Step(offer) {
				did = append(did, a.Kind)
			}
			for _, want := range []ActionKind{ActDiscard, ActSend, ActDrop, ActFence} {
				if !slices.Contains(did, want) {
					t.Errorf("after %d parts: %v, want %v among them", tc.parts, did, want)
				}
			}
		})
	}
}
