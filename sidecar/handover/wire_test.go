package handover

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// samples is one message of each kind, with everything that it can carry.
func samples() map[string]Message {
	hello := Hello{From: 1, To: 2, Build: "v1", Headroom: -1, Versions: Range{1, 2}, Features: 3, Required: 1,
		Codecs: []Codec{{"bolt", Range{1, 2}}, {"tcp", Range{1, 1}}}}
	plan := Plan{Version: 1, Features: 1, Build: "v0", Codecs: []CodecPlan{{"bolt", true, 2}, {"tcp", false, 0}}}
	batch := Batch{ID: 7, Loop: 3, Conns: []Conn{
		{FD: 10, State: []byte("abc"), Counters: Counters{Consumed: 1 << 40, Written: 5}}, {FD: 11, State: []byte{}}}}
	part := batch
	part.More = true
	return map[string]Message{
		"hello":     {Kind: KindHello, Hello: hello},
		"plan":      {Kind: KindPlan, Plan: plan},
		"refuse":    {Kind: KindRefuse, Reason: "no"},
		"challenge": {Kind: KindChallenge, Auth: Auth{From: 1, To: 2, Nonce: []byte("n"), Proof: []byte{}}},
		"proof":     {Kind: KindProof, Auth: Auth{Nonce: []byte("n"), Proof: []byte("p")}},
		"warm":      {Kind: KindWarm, Version: 1, Warm: Warm{State: []byte("s"), Sockets: []Socket{{"a", 10}, {"", 11}}}},
		"offer":     {Kind: KindOffer, Version: 1, Batch: batch},
		"part":      {Kind: KindOffer, Version: 1, Batch: part},
		"commit":    {Kind: KindCommit, Version: 1, ID: 1 << 63},
		"relay":     {Kind: KindRelay, Version: 1, Relays: []Relay{{Loop: 1, Data: []byte("x")}, {Loop: 2, Data: bytes.Repeat([]byte("y"), 200000)}}},
		"bye":       {Kind: KindBye, Version: 1, Bye: Bye{Moved: 9, FreezeP99Micros: 8}},
		"abort":     {Kind: KindAbort, Version: 1, Reason: "because"},
		"done":      {Kind: KindDone, Version: 1},
	}
}

// wirePacket is a packet with its descriptors.
type wirePacket struct {
	b   []byte
	fds []int
}

func split(t *testing.T, m Message) []wirePacket {
	t.Helper()
	var ps []wirePacket
	err := packets(m.Version, m.Kind, encodeBody(m), m.descriptors(), func(p []byte, fds []int) error {
		ps = append(ps, wirePacket{bytes.Clone(p), append([]int(nil), fds...)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

func TestMessagesRoundTrip(t *testing.T) {
	for name, want := range samples() {
		t.Run(name, func(t *testing.T) {
			var a assembler
			var got *Message
			for _, p := range split(t, want) {
				if got != nil || len(p.b) > MaxPacket || len(p.fds) > MaxPacketFDs {
					t.Fatalf("packet of %d bytes and %d descriptors after %v", len(p.b), len(p.fds), got)
				}
				m, orphans, err := a.add(p.b, p.fds)
				if err != nil || len(orphans) > 0 {
					t.Fatal(err, orphans)
				}
				got = m
			}
			if diff := cmp.Diff(&want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

// TestManyDescriptors: however small the states, every descriptor finds a packet.
func TestManyDescriptors(t *testing.T) {
	for _, n := range []int{1, 63, 64, 65, 128, 129, 1000, maxBatchConns} {
		want := Message{Kind: KindOffer, Version: 1, Batch: Batch{ID: 1}}
		for i := range n {
			want.Batch.Conns = append(want.Batch.Conns, Conn{FD: i + 3})
		}
		var a assembler
		var got *Message
		for _, p := range split(t, want) {
			m, _, err := a.add(p.b, p.fds)
			if err != nil {
				t.Fatal(err)
			}
			got = m
		}
		if diff := cmp.Diff(&want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%d descriptors (-want +got):\n%s", n, diff)
		}
	}
}

func TestMalformedPackets(t *testing.T) {
	offer := split(t, samples()["offer"])[0]
	long := split(t, samples()["relay"])
	change := func(p wirePacket, at int, b byte) wirePacket {
		c := bytes.Clone(p.b)
		c[at] = b
		return wirePacket{c, p.fds}
	}
	unknown := encodeBody(samples()["abort"])
	packet := func(k Kind, version uint8, body []byte) wirePacket {
		h := header{kind: k, version: version, total: uint32(len(body))}
		return wirePacket{append(h.append(nil), body...), nil}
	}
	cases := map[string]struct {
		in      []wirePacket
		want    string
		orphans int
	}{
		"too short":              {[]wirePacket{{b: []byte{1}}}, "packet of 1 bytes", 0},
		"wrong magic":            {[]wirePacket{change(offer, 0, 0)}, "magic", 2},
		"unknown flags":          {[]wirePacket{change(offer, 5, 1)}, "flags", 2},
		"unknown kind":           {[]wirePacket{change(offer, 3, 200)}, "unknown kind", 2},
		"a longer message":       {[]wirePacket{change(offer, 8, 0xff)}, "offer of", 2},
		"a missing descriptor":   {[]wirePacket{{offer.b, offer.fds[:1]}}, "came with 1 descriptors", 1},
		"too many descriptors":   {[]wirePacket{{offer.b, []int{1, 2, 3}}}, "came with 3 descriptors", 3},
		"descriptors for nobody": {[]wirePacket{change(wirePacket{packet(KindDone, 1, nil).b, []int{5}}, 4, 1)}, "speaks of 0", 1},
		"begins in the middle":   {long[1:], "begins at byte", 0},
		"a packet is missing":    {[]wirePacket{long[0], long[2]}, "interrupts", 0},
		"another one in between": {[]wirePacket{long[0], offer}, "interrupts", 2},
		"no version":             {[]wirePacket{change(offer, 2, 0)}, "version 0", 2},
		"a truncated field":      {[]wirePacket{packet(KindAbort, 1, unknown[:len(unknown)-1])}, "field", 0},
		"stray bytes":            {[]wirePacket{packet(KindAbort, 1, append(unknown, 1))}, "stray", 0},
		"unknown critical field": {[]wirePacket{packet(KindAbort, 1, appendField(unknown, criticalTag|99, nil))}, "critical", 0},
		"a short number":         {[]wirePacket{packet(KindCommit, 1, appendField(nil, tagID, []byte{1}))}, "number", 0},
		"a flag with a value":    {[]wirePacket{packet(KindOffer, 1, appendField(nil, tagMore, []byte{1}))}, "flag", 0},
		"a relay without a loop": {[]wirePacket{packet(KindRelay, 1, appendField(nil, tagRelay, []byte{1}))}, "relay 0", 0},
		"a relay to loop 2^31":   {[]wirePacket{packet(KindRelay, 1, appendField(nil, tagRelay, []byte{128, 0, 0, 0}))}, "loop", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var a assembler
			var err error
			var orphans []int
			for _, p := range tc.in {
				if _, orphans, err = a.add(p.b, p.fds); err != nil {
					break
				}
			}
			if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if len(orphans) != tc.orphans {
				t.Errorf("%d descriptors given back, want %d", len(orphans), tc.orphans)
			}
		})
	}
}

// TestUnknownFieldIsSkipped: a newer release adds what an older one need not understand.
func TestUnknownFieldIsSkipped(t *testing.T) {
	body := appendField(encodeBody(samples()["abort"]), 99, []byte("news"))
	m, err := decodeMessage(1, KindAbort, body, nil)
	if err != nil || m.Reason != "because" {
		t.Errorf("got %+v, %v", m, err)
	}
}

// TestAbortInterrupts: a sender that withdraws its offer says so in the middle of it.
func TestAbortInterrupts(t *testing.T) {
	m := samples()["offer"]
	m.Batch.Conns[0].State = make([]byte, MaxPacket)
	var a assembler
	first := split(t, m)[0]
	if got, _, err := a.add(first.b, first.fds); got != nil || err != nil {
		t.Fatal(got, err)
	}
	got, orphans, err := a.add(split(t, samples()["abort"])[0].b, nil)
	if err != nil || got == nil || got.Reason != "because" || len(orphans) != 2 {
		t.Errorf("got %v, orphans %v, error %v", got, orphans, err)
	}
}

// FuzzAssembler: packets never panic, never make anything of descriptors that did not come, and what decodes is encoded
// to something that decodes to the same.
func FuzzAssembler(f *testing.F) {
	for _, m := range samples() {
		_ = packets(m.Version, m.Kind, encodeBody(m), m.descriptors(), func(p []byte, fds []int) error {
			f.Add(bytes.Clone(p), len(fds))
			return nil
		})
	}
	f.Fuzz(func(t *testing.T, p []byte, n int) {
		fds := make([]int, max(0, min(n, 300)))
		var a assembler
		m, orphans, err := a.add(p, fds)
		switch {
		case err != nil && len(orphans) != len(fds):
			t.Fatalf("%d descriptors, %d given back", len(fds), len(orphans))
		case m == nil:
			return
		case len(m.descriptors()) != len(fds):
			t.Fatalf("%d descriptors, %d in the message", len(fds), len(m.descriptors()))
		}
		again, err := decodeMessage(m.Version, m.Kind, encodeBody(*m), fds)
		if err != nil {
			t.Fatalf("decoded %+v, encoded again it is malformed: %v", m, err)
		}
		if diff := cmp.Diff(*m, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("message (-first +second):\n%s", diff)
		}
	})
}
