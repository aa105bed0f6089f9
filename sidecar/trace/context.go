package trace

import (
	"encoding/binary"
	"encoding/hex"
)

// ID names a trace.
type ID [16]byte

// SpanID names a span within its trace.
type SpanID [8]byte

// Decision is what a context says of sampling.
type Decision uint8

// Decisions.
const (
	Undecided Decision = iota // it leaves that to us
	Drop
	Record
)

// Parent is what a request says of the span that it was sent by.
type Parent struct {
	Trace   ID     // zero for none: a new trace begins
	Span    SpanID // zero for none that we could name
	Sampled Decision
}

// Offsets of a traceparent, "00-<32 digits>-<16 digits>-<2 digits>" (W3C Trace Context, section 3.2).
const (
	parentTrace  = 3
	parentSpan   = 36
	parentFlags  = 53
	parentLen    = 55
	flagSampled  = 1
	traceDigits  = 32
	spanDigits   = 16
	maxForeignID = 128
)

// ParseTraceparent reads a traceparent. A later version is read as the first one as far as that goes (section 3.2.4 there).
func ParseTraceparent(v []byte) (p Parent, ok bool) {
	var version, flags [1]byte
	if len(v) < parentLen || v[2] != '-' || v[parentSpan-1] != '-' || v[parentFlags-1] != '-' ||
		!digits(version[:], v[:2]) || version[0] == 0xff || !digits(flags[:], v[parentFlags:parentLen]) {
		return p, false
	}
	if len(v) > parentLen && (version[0] == 0 || v[parentLen] != '-') {
		return p, false
	}
	if !digits(p.Trace[:], v[parentTrace:parentSpan-1]) || !digits(p.Span[:], v[parentSpan:parentFlags-1]) ||
		p.Trace == (ID{}) || p.Span == (SpanID{}) {
		return Parent{}, false
	}
	p.Sampled = Drop
	if flags[0]&flagSampled != 0 {
		p.Sampled = Record
	}
	return p, true
}

// AppendTraceparent writes a traceparent of the first version, whose trace is sampled.
func AppendTraceparent(dst []byte, trace ID, span SpanID) []byte {
	dst = hex.AppendEncode(append(dst, "00-"...), trace[:])
	dst = hex.AppendEncode(append(dst, '-'), span[:])
	return append(dst, "-01"...)
}

// ParseB3 reads a b3 header, "trace-span[-sampled[-parent]]" or what is sampled alone (B3 Propagation, "Single Header"). span and
// parent are the views of their digits, nil for those that are not there.
func ParseB3(v []byte) (p Parent, span, parent []byte, ok bool) {
	if len(v) == 1 {
		p.Sampled, ok = b3Sampled(v)
		return p, nil, nil, ok
	}
	n := b3TraceLen(v)
	if n == 0 || len(v) < n+1+spanDigits || v[n] != '-' {
		return p, nil, nil, false
	}
	span, rest := v[n+1:n+1+spanDigits], v[n+1+spanDigits:]
	if p, ok = parseB3IDs(v[:n], span); !ok || len(rest) == 0 {
		return p, span, nil, ok
	}
	if len(rest) < 2 || rest[0] != '-' {
		return Parent{}, nil, nil, false
	}
	if p.Sampled, ok = b3Sampled(rest[1:2]); !ok {
		return Parent{}, nil, nil, false
	}
	if rest = rest[2:]; len(rest) == 0 {
		return p, span, nil, true
	}
	var before SpanID
	if len(rest) != 1+spanDigits || rest[0] != '-' || !digits(before[:], rest[1:]) {
		return Parent{}, nil, nil, false
	}
	return p, span, rest[1:], true
}

// b3TraceLen is the length of the trace's id that v begins with: 64 or 128 bits, 0 for neither.
func b3TraceLen(v []byte) int {
	for _, n := range [...]int{traceDigits, spanDigits} {
		if len(v) > n && v[n] == '-' {
			return n
		}
	}
	return 0
}

// parseB3IDs reads the ids; a short one of a trace is what its right half is.
func parseB3IDs(trace, span []byte) (p Parent, ok bool) {
	if len(trace) != traceDigits && len(trace) != spanDigits {
		return p, false
	}
	if !digits(p.Trace[len(p.Trace)-len(trace)/2:], trace) || !digits(p.Span[:], span) || p.Trace == (ID{}) || p.Span == (SpanID{}) {
		return Parent{}, false
	}
	return p, true
}

// b3Sampled reads a sampling state, in the words of the older headers too.
func b3Sampled(v []byte) (d Decision, ok bool) {
	switch string(v) {
	case "0", "false":
		return Drop, true
	case "1", "d", "true":
		return Record, true
	}
	return Undecided, false
}

// parseSOFA makes a trace's id of SOFATracer's, which has about 30 characters, as a rule hexadecimal digits: those are kept, at the
// right end; anything else is hashed. The span is not named: SOFATracer counts its spans ("0.1.2") and names them by nothing else.
func parseSOFA(trace []byte) (p Parent, ok bool) {
	if len(trace) == 0 || len(trace) > maxForeignID {
		return p, false
	}
	if len(trace) <= traceDigits && rightDigits(&p.Trace, trace) {
		return p, p.Trace != (ID{})
	}
	binary.BigEndian.PutUint64(p.Trace[:8], fnv(trace, 14695981039346656037))
	binary.BigEndian.PutUint64(p.Trace[8:], fnv(trace, 1099511628211))
	return p, p.Trace != (ID{})
}

// isCall says whether a span's name is a number of calls as SOFATracer has it: "0", "0.1.2".
func isCall(span []byte) bool {
	number := false
	for _, c := range span {
		switch {
		case c >= '0' && c <= '9':
			number = true
		case c == '.' && number:
			number = false
		default:
			return false
		}
	}
	return number
}

// fnv is FNV-1a from some start; hash/fnv allocates.
func fnv(v []byte, h uint64) uint64 {
	for _, c := range v {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// rightDigits fills the right end of an id.
func rightDigits(id *ID, v []byte) bool {
	var padded [traceDigits]byte
	for i := range padded {
		padded[i] = '0'
	}
	copy(padded[traceDigits-len(v):], v)
	if !digits(id[:], padded[:]) {
		*id = ID{}
		return false
	}
	return true
}

// digits reads hexadecimal digits in lower case, two for each byte of dst.
func digits(dst, v []byte) bool {
	if len(v) != 2*len(dst) {
		return false
	}
	for i := range dst {
		high, low := digit(v[2*i]), digit(v[2*i+1])
		if high|low > 0xf {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

// digit returns more than 15 for what is none.
func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// share spreads an id evenly over all numbers, also one that is not random (splitmix64's finaliser).
func (id *ID) share() uint64 {
	x := binary.BigEndian.Uint64(id[:8])*0x9E3779B97F4A7C15 ^ binary.BigEndian.Uint64(id[8:])
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
