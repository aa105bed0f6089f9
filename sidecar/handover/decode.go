package handover

import (
	"encoding/binary"
	"fmt"
)

// decodeMessage reads a message. On an error the descriptors stay the caller's. Data and states are views into body.
func decodeMessage(version uint8, k Kind, body []byte, fds []int) (Message, error) {
	m := Message{Kind: k, Version: version}
	if k == 0 || k >= kindEnd {
		return m, fmt.Errorf("%w: unknown kind %d", ErrFormat, k)
	}
	if (k <= KindPlan) != (version == 0) && k != KindAck && k != KindAbort {
		return m, fmt.Errorf("%w: %s written in version %d", ErrFormat, k, version)
	}
	err := fields(body, func(tag uint16, v []byte) (bool, error) { return m.field(tag, v) })
	if err != nil {
		return m, fmt.Errorf("%s: %w", k, err)
	}
	if err := m.attach(fds); err != nil {
		return m, err
	}
	return m, nil
}

// field takes one field into the part of the message that its kind uses.
func (m *Message) field(tag uint16, v []byte) (bool, error) {
	switch m.Kind {
	case KindChallenge, KindProof:
		return m.Auth.field(tag, v)
	case KindHello:
		return m.Hello.field(tag, v)
	case KindPlan:
		return m.Plan.field(tag, v)
	case KindWarm:
		return m.Warm.field(tag, v)
	case KindOffer:
		return m.Batch.field(tag, v)
	case KindPrepared, KindCommit, KindResumed, KindAck:
		return uintField(tag, v, tagID, &m.ID)
	case KindRelay:
		return m.relay(tag, v)
	case KindBye:
		return m.Bye.field(tag, v)
	case KindRefuse, KindAbort, KindWait, KindBusy:
		return stringField(tag, v, tagReason, &m.Reason)
	}
	return false, nil
}

func uintField(tag uint16, v []byte, want uint16, dst *uint64) (bool, error) {
	if tag != want {
		return false, nil
	}
	n, err := number(tag, v)
	*dst = n
	return true, err
}

func intField(tag uint16, v []byte, dst *int64) (bool, error) {
	n, err := number(tag, v)
	*dst = int64(n)
	return true, err
}

func stringField(tag uint16, v []byte, want uint16, dst *string) (bool, error) {
	if tag != want {
		return false, nil
	}
	if len(v) > maxString {
		return true, fmt.Errorf("%w: text of %d bytes", ErrFormat, len(v))
	}
	*dst = string(v)
	return true, nil
}

func (a *Auth) field(tag uint16, v []byte) (bool, error) {
	switch tag {
	case tagFrom:
		return intField(tag, v, &a.From)
	case tagTo:
		return intField(tag, v, &a.To)
	case tagNonce:
		a.Nonce = v
	case tagProof:
		a.Proof = v
	default:
		return false, nil
	}
	return true, nil
}

func (h *Hello) field(tag uint16, v []byte) (bool, error) {
	switch tag {
	case tagFrom:
		return intField(tag, v, &h.From)
	case tagTo:
		return intField(tag, v, &h.To)
	case tagBuild:
		return stringField(tag, v, tagBuild, &h.Build)
	case tagHeadroom:
		return intField(tag, v, &h.Headroom)
	case tagVersions:
		if len(v) != 2 {
			return true, fmt.Errorf("%w: version range of %d bytes", ErrFormat, len(v))
		}
		h.Versions = Range{v[0], v[1]}
	case tagFeatures:
		return uintField(tag, v, tagFeatures, &h.Features)
	case tagRequired:
		return uintField(tag, v, tagRequired, &h.Required)
	case tagCodec:
		name, pair, err := codecField(v, len(h.Codecs))
		h.Codecs = append(h.Codecs, Codec{Name: name, Range: Range{pair[0], pair[1]}})
		return true, err
	default:
		return false, nil
	}
	return true, nil
}

func (p *Plan) field(tag uint16, v []byte) (bool, error) {
	switch tag {
	case tagVersions:
		if len(v) != 2 {
			return true, fmt.Errorf("%w: version of %d bytes", ErrFormat, len(v))
		}
		p.Version = v[1]
	case tagFeatures:
		return uintField(tag, v, tagFeatures, &p.Features)
	case tagBuild:
		return stringField(tag, v, tagBuild, &p.Build)
	case tagCodec:
		name, pair, err := codecField(v, len(p.Codecs))
		p.Codecs = append(p.Codecs, CodecPlan{Name: name, Migrate: pair[0] == 1, Version: pair[1]})
		return true, err
	default:
		return false, nil
	}
	return true, nil
}

// codecField reads two bytes and a name; have is how many there are already.
func codecField(v []byte, have int) (string, [2]byte, error) {
	if len(v) < 2 || len(v) > 2+maxString || have >= maxWireCodecs {
		return "", [2]byte{}, fmt.Errorf("%w: codec %d of %d bytes", ErrFormat, have, len(v))
	}
	return string(v[2:]), [2]byte{v[0], v[1]}, nil
}

func (w *Warm) field(tag uint16, v []byte) (bool, error) {
	switch tag {
	case tagState:
		w.State = v
	case tagSocket:
		if len(v) > maxString || len(w.Sockets) >= MaxSockets {
			return true, fmt.Errorf("%w: socket %d with a key of %d bytes", ErrFormat, len(w.Sockets), len(v))
		}
		w.Sockets = append(w.Sockets, Socket{Key: string(v), FD: -1})
	default:
		return false, nil
	}
	return true, nil
}

func (b *Batch) field(tag uint16, v []byte) (bool, error) {
	switch tag {
	case tagID:
		return uintField(tag, v, tagID, &b.ID)
	case tagLoop:
		n, err := number(tag, v)
		if err == nil && n >= maxLoops {
			err = fmt.Errorf("%w: loop %d", ErrFormat, n)
		}
		b.Loop = int(n & (maxLoops - 1))
		return true, err
	case tagConn:
		if len(v) < connFixed || len(b.Conns) >= maxBatchConns {
			return true, fmt.Errorf("%w: connection %d of %d bytes", ErrFormat, len(b.Conns), len(v))
		}
		b.Conns = append(b.Conns, Conn{FD: -1, State: v[connFixed:], Counters: Counters{
			Consumed: binary.BigEndian.Uint64(v), Written: binary.BigEndian.Uint64(v[8:]),
		}})
		return true, nil
	case tagMore:
		if b.More = true; len(v) > 0 {
			return true, fmt.Errorf("%w: flag %#x of %d bytes", ErrFormat, tag, len(v))
		}
		return true, nil
	}
	return false, nil
}

func (m *Message) relay(tag uint16, v []byte) (bool, error) {
	if tag != tagRelay {
		return false, nil
	}
	if len(v) < relayFixed || len(v) > relayFixed+MaxRelay || len(m.Relays) >= maxRelaysInBody {
		return true, fmt.Errorf("%w: relay %d of %d bytes", ErrFormat, len(m.Relays), len(v))
	}
	loop := binary.BigEndian.Uint32(v)
	if loop >= maxLoops {
		return true, fmt.Errorf("%w: loop %d", ErrFormat, loop)
	}
	m.Relays = append(m.Relays, Relay{Loop: int(loop), Data: v[relayFixed:]})
	return true, nil
}

func (b *Bye) field(tag uint16, v []byte) (bool, error) {
	switch tag {
	case tagMoved:
		return intField(tag, v, &b.Moved)
	case tagFreeze:
		return intField(tag, v, &b.FreezeP99Micros)
	}
	return false, nil
}

// attach gives a message its descriptors. Their number must be exactly the one that the body speaks of.
func (m *Message) attach(fds []int) error {
	want := len(m.descriptors())
	if want != len(fds) {
		return fmt.Errorf("%w: %s speaks of %d descriptors, %d came", ErrFormat, m.Kind, want, len(fds))
	}
	for i := range fds {
		if m.Kind == KindWarm {
			m.Warm.Sockets[i].FD = fds[i]
		} else {
			m.Batch.Conns[i].FD = fds[i]
		}
	}
	return nil
}
