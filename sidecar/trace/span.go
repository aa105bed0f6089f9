package trace

import (
	"net/netip"
	"time"
	"unicode/utf8"
)

// Kind is which side of a call a span is, as OTLP numbers it.
type Kind uint8

// Kinds.
const (
	Server Kind = 2 // of a request that comes to the application
	Client Kind = 3 // of one that it sends
)

// System is what a request speaks.
type System uint8

// Systems.
const (
	HTTP1 System = iota
	HTTP2
	GRPC
	BoltRPC // SOFARPC
	DubboRPC
	systems
)

// Text names one of the texts of a span.
type Text uint8

// Texts.
const (
	SOFATrace Text = iota // these three are Begin's
	SOFACall
	SOFAApp
	Method  // of HTTP or of a service
	Path    // of HTTP, without its query
	Service // of RPC
	Host    // of HTTP
	texts
)

// Bounds of what a span keeps of a request's own words; what is longer is cut off.
const (
	maxText  = 160
	maxTexts = 448
)

// Span is one request, as this sidecar has seen it. Its loop alone touches it.
type Span struct {
	Trace  ID
	ID     SpanID
	Parent SpanID // zero for none
	Kind   Kind
	System System
	Start  time.Duration // of the loop's clock
	// Peer is the endpoint that a request was sent to last, of a Server span the client.
	Peer netip.AddrPort
	// Host and Route name the route, Cluster and Listener what they say; they outlive the span.
	RouteHost, Route, Cluster, Listener string
	// Status of the answer: HTTP's, or the protocol's own for RPC; -1 for none.
	Status int32
	// Failure says why the sidecar has answered itself, or why there is no answer; empty when an endpoint has answered.
	Failure string
	// Retries is how often the request was sent again.
	Retries uint8
	// Moved says that the rest of the request was another process's, which does not tell how it ended.
	Moved bool

	to    *Recorder // nil once it has ended
	cut   [texts]uint16
	texts [maxTexts]byte
	used  uint16
}

// Set keeps a text; each is set once, in the order of their names.
func (s *Span) Set(t Text, v []byte) {
	n := copy(s.texts[s.used:], v[:min(len(v), maxText)])
	own := s.texts[s.used : int(s.used)+n]
	if n < len(v) { // not in the middle of a character
		for n > 0 && !utf8.RuneStart(v[n]) {
			n--
		}
		own = own[:n]
	}
	for at := 0; at < len(own); { // OTLP has no strings that are not UTF-8
		r, size := utf8.DecodeRune(own[at:])
		if r == utf8.RuneError && size <= 1 {
			own[at] = '?'
		}
		at += size
	}
	s.used += uint16(n)
	for i := t; i < texts; i++ {
		s.cut[i] = s.used
	}
}

// text is what was set.
func (s *Span) text(t Text) []byte {
	from := uint16(0)
	if t > 0 {
		from = s.cut[t-1]
	}
	return s.texts[from:s.cut[t]]
}

// Open says that the span has not ended; nil has.
func (s *Span) Open() bool { return s != nil && s.to != nil }

// End ends the span, once; nil is none. now is of the loop's clock.
func (s *Span) End(now time.Duration) {
	if !s.Open() {
		return
	}
	to := s.to
	s.to = nil
	to.add(s, now)
}

// SentTo notes the endpoint that a request is sent to; nil is none, and a Server span keeps its client.
func (s *Span) SentTo(endpoint netip.AddrPort) {
	if s != nil && s.Kind == Client {
		s.Peer = endpoint
	}
}

// Fail says why there is no answer of an endpoint, and ends the span. status is HTTP's, of the answer that the sidecar gives itself; 0
// for none, and for RPC.
func (s *Span) Fail(why string, status int, now time.Duration) {
	if !s.Open() {
		return
	}
	s.Failure = why
	if s.Status < 0 && status > 0 && !s.rpc() {
		s.Status = int32(status)
	}
	s.End(now)
}

// Leave forgets the span without an end: another process has it now.
func (s *Span) Leave() {
	if s != nil {
		s.to = nil
	}
}

// GoneWith is the failure of a request whose client has left before its answer.
const GoneWith = "client_gone"
