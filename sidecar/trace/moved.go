package trace

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/axlemesh/axle/sidecar/address"
)

// movedVersion is the first byte of a span that is written down.
const movedVersion = 1

var errMoved = errors.New("trace: a span that is written down is damaged")

// AppendBinary writes a span down for the process that has its request from now on.
func (s *Span) AppendBinary(dst []byte, now time.Duration) []byte {
	dst = append(dst, movedVersion, byte(s.Kind), byte(s.System), s.Retries)
	dst = append(append(append(dst, s.Trace[:]...), s.ID[:]...), s.Parent[:]...)
	dst = binary.AppendUvarint(dst, uint64(max(now-s.Start, 0)))
	dst = binary.AppendVarint(dst, int64(s.Status))
	peer, _ := s.Peer.MarshalBinary() // none for what is no address
	dst = appendBytes(dst, peer)
	for _, v := range s.names() {
		dst = appendBytes(dst, *v)
	}
	for t := range texts {
		dst = appendBytes(dst, s.text(t))
	}
	return dst
}

func (s *Span) names() [4]*string {
	return [...]*string{&s.RouteHost, &s.Route, &s.Cluster, &s.Listener}
}

func appendBytes[V string | []byte](dst []byte, v V) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}

// Restore reads what AppendBinary has written in another process. It returns the bytes behind it.
func (r *Recorder) Restore(b []byte, now time.Duration) (*Span, []byte, error) {
	const fixed = 4 + 16 + 8 + 8
	if len(b) < fixed || b[0] != movedVersion {
		return nil, nil, errMoved
	}
	s := &Span{Kind: Kind(b[1]), System: System(b[2]), Retries: b[3], to: r}
	if s.Kind != Server && s.Kind != Client || s.System >= systems {
		return nil, nil, errMoved
	}
	copy(s.Trace[:], b[4:])
	copy(s.ID[:], b[20:])
	copy(s.Parent[:], b[28:])
	d := reader{b: b[fixed:]}
	s.Start = now - time.Duration(d.uint())
	s.Status = int32(d.int())
	if peer := d.bytes(); len(peer) > 0 && s.Peer.UnmarshalBinary(peer) != nil {
		d.bad = true
	}
	for _, v := range s.names() {
		*v = string(d.bytes())
	}
	for t := range texts {
		v := d.bytes()
		if len(v) > maxText {
			d.bad = true
		}
		s.Set(t, v)
	}
	if _, unix := address.UnixName(s.Peer); d.bad || s.Start > now || !unix && s.Peer.Addr().Zone() != "" {
		return nil, nil, errMoved
	}
	return s, d.b, nil
}

// reader takes from b; bad is set once something was missing.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}
