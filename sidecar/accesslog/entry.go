// Package accesslog writes a line of JSON for each request that has ended. The loops only fill entries and leave them in a
// ring; a goroutine beside them makes lines of them and writes. When it cannot keep up, lines are dropped, and counted.
package accesslog

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// Text is something that a client has said, or its certificate.
type Text uint8

// Texts.
const (
	Method  Text = iota // of HTTP, or of an RPC service
	Path                // of HTTP, with its query
	Service             // of RPC: interface, version and what else is in its key
	Authority
	TraceID
	RequestID
	Peer // the identity in the client's certificate
	texts
)

// Bounds of what is kept of a text; the rest is cut off.
const (
	maxPath = 2048
	maxText = 256
)

// Entry is one request, or one plain connection. A loop fills it in, and gives it to its Ring in the end.
type Entry struct {
	Began time.Duration // on the loops' clock
	Took  time.Duration
	Sent  time.Duration // when the last try was sent to an endpoint; 0 for never
	Heard time.Duration // when its answer began; 0 for never

	Direction, Protocol, Listener string
	Host, Route                   string // as in metrics
	Cluster                       string
	Endpoint, Client              netip.AddrPort
	Status                        int    // in the protocol's words; -1 for none
	GRPC                          int    // -1 for none
	Flag                          string // "-" for none
	Tries                         int
	In, Out                       uint64  // bytes of bodies, frames or connections
	Filter                        *Filter // asked in the end whether it is logged; nil takes everything

	text []byte
	ends [texts]uint16
}

// reset empties the entry; its memory stays.
func (e *Entry) reset() { *e = Entry{text: e.text[:0], Status: -1, GRPC: -1} }

// Add sets a text. They are set in their order, each at most once.
func (e *Entry) Add(t Text, value []byte) {
	most := maxText
	if t == Path {
		most = maxPath
	}
	e.text = append(e.text, value[:min(len(value), most)]...)
	for i := t; i < texts; i++ {
		e.ends[i] = uint16(len(e.text))
	}
}

// Text that was set; empty for none.
func (e *Entry) Text(t Text) []byte {
	from := uint16(0)
	if t > 0 {
		from = e.ends[t-1]
	}
	return e.text[from:e.ends[t]]
}

// Move appends what another process needs to log the request when it ends there; now is the loop's.
func (e *Entry) Move(dst []byte, now time.Duration) []byte {
	ago := func(at time.Duration) uint64 {
		if at == 0 {
			return 0
		}
		return uint64(max(now-at, 0)) + 1
	}
	dst = appendBytes(dst, e.Listener)
	dst = appendBytes(dst, e.Cluster)
	for _, a := range []netip.AddrPort{e.Endpoint, e.Client} {
		b, err := a.MarshalBinary()
		if err != nil || !a.IsValid() {
			b = nil
		}
		dst = appendBytes(dst, b)
	}
	for _, n := range []uint64{ago(e.Sent), ago(e.Heard), uint64(e.Tries), e.In, e.Out} {
		dst = binary.AppendUvarint(dst, n)
	}
	for t := range texts {
		dst = appendBytes(dst, e.Text(t))
	}
	return dst
}

func appendBytes[T string | []byte](dst []byte, v T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}

// ErrState says that what Move is said to have written is damaged.
var ErrState = errors.New("access log: what has moved is damaged")

// Moved fills in what Move has written; now is the loop's.
func (e *Entry) Moved(b []byte, now time.Duration) error {
	bad := false
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			bad, b = true, nil
			return 0
		}
		b = b[size:]
		return n
	}
	bytes := func() []byte {
		n := number()
		if n > uint64(len(b)) {
			bad = true
			return nil
		}
		v := b[:n]
		b = b[n:]
		return v
	}
	at := func(ago uint64) time.Duration { // which may be before the clock here began
		if ago == 0 {
			return 0
		}
		since := time.Duration(ago - 1)
		if bad = bad || since < 0; since != now {
			return now - since
		}
		return 1
	}
	e.Listener, e.Cluster = string(bytes()), string(bytes())
	for _, a := range []*netip.AddrPort{&e.Endpoint, &e.Client} {
		if v := bytes(); len(v) > 0 && a.UnmarshalBinary(v) != nil {
			bad = true
		}
	}
	e.Sent, e.Heard, e.Tries = at(number()), at(number()), int(number()&0xffff)
	e.In, e.Out = number(), number()
	for t := range texts {
		e.Add(t, bytes())
	}
	if bad || len(b) > 0 {
		return ErrState
	}
	return nil
}
