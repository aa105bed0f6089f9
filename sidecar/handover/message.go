package handover

import (
	"encoding/binary"
	"fmt"
)

// Kind says what a message is. The numbers are part of the wire format.
type Kind uint8

// The messages. Those up to KindPlan are written with version 0, because none is agreed yet.
const (
	KindChallenge Kind = iota + 1 // candidate: generations and nonce
	KindProof                     // donor: nonce and proof; candidate: proof
	KindBusy                      // donor: another candidate is being served
	KindWait                      // donor: no handover has begun here yet
	KindHello                     // candidate
	KindRefuse                    // donor
	KindPlan                      // donor
	KindWarm                      // donor: state and sockets
	KindWarmed                    // candidate
	KindReady                     // candidate
	KindAccept                    // donor
	KindAccepting                 // candidate
	KindOffer                     // donor: a batch
	KindPrepared                  // candidate
	KindCommit                    // donor
	KindResumed                   // candidate
	KindRelay                     // both
	KindDone                      // donor
	KindDoneAck                   // candidate
	KindBye                       // donor
	KindAbort                     // both
	// KindAck is the transport's own: so many packets with descriptors have been read.
	KindAck
	kindEnd
)

var kindNames = [...]string{"kind(0)", "challenge", "proof", "busy", "wait", "hello", "refuse", "plan", "warm", "warmed",
	"ready", "accept", "accepting", "offer", "prepared", "commit", "resumed", "relay", "done", "done-ack", "bye", "abort", "ack"}

// String is the message's name.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Message is one message of the protocol; only the fields of its kind are used.
type Message struct {
	Kind Kind
	// Version it is written in; the machines set and check it.
	Version uint8
	// ID is the batch of Prepared, Commit and Resumed, and the count of Ack.
	ID     uint64
	Hello  Hello
	Plan   Plan
	Warm   Warm
	Batch  Batch
	Relays []Relay
	Bye    Bye
	Auth   Auth
	// Reason of Refuse, Abort and Wait, for people.
	Reason string
}

// Warm is what the donor passes before anything moves.
type Warm struct {
	State   []byte
	Sockets []Socket
}

// Bye carries what only the donor could measure.
type Bye struct {
	Moved           int64
	FreezeP99Micros int64
}

// Auth is one step of the mutual proof.
type Auth struct {
	From, To int64
	Nonce    []byte
	Proof    []byte
}

// size is the weight of an offer's states.
func (b Batch) size() int {
	n := 0
	for _, c := range b.Conns {
		n += len(c.State) + 64
	}
	return n
}

// descriptors lists those that travel with a message, in its order.
func (m Message) descriptors() []int {
	var fds []int
	switch m.Kind {
	case KindWarm:
		for _, s := range m.Warm.Sockets {
			fds = append(fds, s.FD)
		}
	case KindOffer:
		for _, c := range m.Batch.Conns {
			fds = append(fds, c.FD)
		}
	}
	return fds
}

// The tags, each in the message that has it. All are critical: this is the first version.
const (
	tagID           = criticalTag | 1
	tagReason       = 2
	tagFrom         = criticalTag | 3
	tagTo           = criticalTag | 4
	tagBuild        = 5
	tagHeadroom     = 6
	tagVersions     = criticalTag | 7
	tagFeatures     = criticalTag | 8
	tagRequired     = criticalTag | 9
	tagCodec        = criticalTag | 10
	tagState        = criticalTag | 11
	tagSocket       = criticalTag | 12
	tagLoop         = criticalTag | 13
	tagConn         = criticalTag | 14
	tagRelay        = criticalTag | 15
	tagMoved        = 16
	tagFreeze       = 17
	tagNonce        = criticalTag | 18
	tagProof        = criticalTag | 19
	tagMore         = criticalTag | 20 // only where FeatureParts was agreed
	connFixed       = 16               // counters before a connection's state
	relayFixed      = 4                // loop before a relay's data
	maxString       = 4096
	maxLoops        = 1 << 16
	maxWireCodecs   = 256
	maxRelaysInBody = MaxPacket / 10
)

// encodeBody returns the body of a message.
func encodeBody(m Message) []byte {
	var b []byte
	switch m.Kind {
	case KindChallenge, KindProof:
		b = appendAuth(b, m.Auth)
	case KindHello:
		b = appendHello(b, m.Hello)
	case KindPlan:
		b = appendPlan(b, m.Plan)
	case KindWarm:
		b = appendField(b, tagState, m.Warm.State)
		for _, s := range m.Warm.Sockets {
			b = appendField(b, tagSocket, []byte(s.Key))
		}
	case KindOffer:
		b = appendBatch(make([]byte, 0, m.Batch.size()+64), m.Batch)
	case KindPrepared, KindCommit, KindResumed, KindAck:
		b = appendUint(b, tagID, m.ID)
	case KindRelay:
		for _, r := range m.Relays {
			b = appendField(b, tagRelay, binary.BigEndian.AppendUint32(nil, uint32(r.Loop)), r.Data)
		}
	case KindBye:
		b = appendUint(b, tagMoved, uint64(m.Bye.Moved))
		b = appendUint(b, tagFreeze, uint64(m.Bye.FreezeP99Micros))
	case KindRefuse, KindAbort, KindWait, KindBusy:
		b = appendField(b, tagReason, []byte(clip(m.Reason)))
	}
	return b
}

func clip(s string) string { return s[:min(len(s), maxString)] }

func appendAuth(b []byte, a Auth) []byte {
	b = appendUint(b, tagFrom, uint64(a.From))
	b = appendUint(b, tagTo, uint64(a.To))
	b = appendField(b, tagNonce, a.Nonce)
	return appendField(b, tagProof, a.Proof)
}

func appendHello(b []byte, h Hello) []byte {
	b = appendUint(b, tagFrom, uint64(h.From))
	b = appendUint(b, tagTo, uint64(h.To))
	b = appendField(b, tagBuild, []byte(clip(h.Build)))
	b = appendUint(b, tagHeadroom, uint64(h.Headroom))
	b = appendField(b, tagVersions, []byte{h.Versions.Min, h.Versions.Max})
	b = appendUint(b, tagFeatures, h.Features)
	b = appendUint(b, tagRequired, h.Required)
	for _, c := range h.Codecs {
		b = appendField(b, tagCodec, []byte{c.Min, c.Max}, []byte(clip(c.Name)))
	}
	return b
}

func appendPlan(b []byte, p Plan) []byte {
	b = appendField(b, tagVersions, []byte{p.Version, p.Version})
	b = appendUint(b, tagFeatures, p.Features)
	b = appendField(b, tagBuild, []byte(clip(p.Build)))
	for _, c := range p.Codecs {
		migrate := byte(0)
		if c.Migrate {
			migrate = 1
		}
		b = appendField(b, tagCodec, []byte{migrate, c.Version}, []byte(clip(c.Name)))
	}
	return b
}

func appendBatch(b []byte, batch Batch) []byte {
	b = appendUint(b, tagID, batch.ID)
	b = appendUint(b, tagLoop, uint64(batch.Loop))
	for _, c := range batch.Conns {
		var counters [connFixed]byte
		binary.BigEndian.PutUint64(counters[:], c.Counters.Consumed)
		binary.BigEndian.PutUint64(counters[8:], c.Counters.Written)
		b = appendField(b, tagConn, counters[:], c.State)
	}
	if batch.More {
		b = appendField(b, tagMore)
	}
	return b
}
