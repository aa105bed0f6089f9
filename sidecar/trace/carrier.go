package trace

import (
	"bytes"
	"encoding/hex"
)

// Headers is what a request says: HTTP fields, Bolt headers, Dubbo attachments.
type Headers interface {
	// Header returns the first value of that name as a view of the request, which may be written to.
	Header(name string) (value []byte, ok bool)
}

// Names says what contexts are called in one protocol.
type Names struct {
	parent, b3                           string // W3C; B3 in one header
	b3Trace, b3Span, b3Parent, b3Sampled string // B3 in several
	b3Flags                              string
	sofaTrace, sofaRPC, sofaSampled      string // SOFATracer, as SOFARPC's RemotingConstants have it; empty for none
	sofaCaller, sofaApp, sofaContext     string // the application that calls, by its older and its newer name
}

// HTTP has the names of HTTP; its peers compare them without regard to case.
var HTTP = Names{
	parent: "traceparent", b3: "b3",
	b3Trace: "x-b3-traceid", b3Span: "x-b3-spanid", b3Parent: "x-b3-parentspanid", b3Sampled: "x-b3-sampled", b3Flags: "x-b3-flags",
	sofaTrace: "sofa-traceid", sofaRPC: "sofa-rpcid",
}

// Dubbo has the names of attachments.
var Dubbo = Names{
	parent: "traceparent", b3: "b3",
	b3Trace: "X-B3-TraceId", b3Span: "X-B3-SpanId", b3Parent: "X-B3-ParentSpanId", b3Sampled: "X-B3-Sampled", b3Flags: "X-B3-Flags",
}

// Bolt has the names of a header map. SOFARPC flattens the map rpc_trace_context into it; with the newer SOFATracer there is one
// string instead, "tcid=<trace>&spid=<rpc id>&pspid=<parent's>&sample=<bool>&..." .
var Bolt = Names{
	parent: "traceparent", b3: "b3",
	b3Trace: "X-B3-TraceId", b3Span: "X-B3-SpanId", b3Parent: "X-B3-ParentSpanId", b3Sampled: "X-B3-Sampled", b3Flags: "X-B3-Flags",
	sofaTrace: "rpc_trace_context.sofaTraceId", sofaRPC: "rpc_trace_context.sofaRpcId", sofaSampled: "rpc_trace_context.samp",
	sofaCaller: "rpc_trace_context.sofaCallerApp", sofaApp: "app", sofaContext: "new_rpc_trace_context",
}

// Carrier is the context of one request, with where it is written. One is used again and again.
type Carrier struct {
	Parent
	// Present says that there is a context, readable or not: nothing is added to such a request.
	Present bool
	// SOFATrace, SOFARPC and SOFAApp are SOFATracer's own words, nil without it.
	SOFATrace, SOFARPC, SOFAApp []byte

	span, before []byte // the digits of the span and, in B3, of its parent; nil for those that are not there
}

// Read looks for a context: W3C's, then B3's, then SOFATracer's. What cannot be read counts as none.
func (c *Carrier) Read(h Headers, n *Names) {
	*c = Carrier{}
	if v, ok := h.Header(n.parent); ok {
		c.Present = true
		if c.Parent, ok = ParseTraceparent(v); ok {
			c.span = v[parentSpan : parentSpan+spanDigits]
			return
		}
	}
	if c.readB3(h, n) || n.sofaTrace == "" {
		return
	}
	c.readSOFA(h, n)
}

func (c *Carrier) readB3(h Headers, n *Names) (ok bool) {
	if v, there := h.Header(n.b3); there {
		c.Present = true
		if c.Parent, c.span, c.before, ok = ParseB3(v); ok {
			return true
		}
		c.span, c.before = nil, nil
	}
	trace, there := h.Header(n.b3Trace)
	sampled, decided := h.Header(n.b3Sampled)
	flags, flagged := h.Header(n.b3Flags)
	if !there && !decided && !flagged {
		return false
	}
	c.Present = true
	span, _ := h.Header(n.b3Span)
	if c.Parent, ok = parseB3IDs(trace, span); ok {
		c.span = span
		if before, _ := h.Header(n.b3Parent); len(before) == spanDigits {
			c.before = before
		}
	} else if there {
		// Ids that cannot be read: what is said of them does not count either. Those of SOFATracer over HTTP are its own.
		return isCall(span) && c.setSOFA(trace, span, sampled)
	}
	if c.Sampled, _ = b3Sampled(sampled); string(flags) == "1" {
		c.Sampled = Record
	}
	return true
}

func (c *Carrier) readSOFA(h Headers, n *Names) {
	v, ok := h.Header(n.sofaTrace)
	var rpc, sampled []byte
	if ok && len(v) > 0 {
		rpc, _ = h.Header(n.sofaRPC)
		if n.sofaSampled != "" {
			sampled, _ = h.Header(n.sofaSampled)
		}
	} else if n.sofaContext != "" {
		context, _ := h.Header(n.sofaContext)
		v, rpc, sampled = SOFAContext(context)
	}
	if len(v) == 0 {
		return
	}
	c.Present = true
	if c.setSOFA(v, rpc, sampled) && n.sofaApp != "" {
		if c.SOFAApp, _ = h.Header(n.sofaCaller); len(c.SOFAApp) == 0 {
			c.SOFAApp, _ = h.Header(n.sofaApp)
		}
	}
}

func (c *Carrier) setSOFA(trace, rpc, sampled []byte) (ok bool) {
	if c.Parent, ok = parseSOFA(trace); ok {
		c.SOFATrace, c.SOFARPC = trace, rpc
		c.Sampled, _ = b3Sampled(sampled)
	}
	return ok
}

// SOFAContext takes a context of the newer SOFATracer apart, which has one header, new_rpc_trace_context.
func SOFAContext(v []byte) (trace, rpc, sampled []byte) {
	for len(v) > 0 {
		var one []byte
		one, v, _ = bytes.Cut(v, []byte{'&'})
		key, value, _ := bytes.Cut(one, []byte{'='})
		switch string(key) {
		case "tcid":
			trace = value
		case "spid":
			rpc = value
		case "sample":
			sampled = value
		}
	}
	return trace, rpc, sampled
}

// Rewrite makes our span the parent of what the request causes, in place; false when the context has no place for that.
func (c *Carrier) Rewrite(id SpanID) bool {
	if len(c.span) != spanDigits {
		return false
	}
	if len(c.before) == spanDigits {
		copy(c.before, c.span)
	}
	hex.Encode(c.span, id[:])
	return true
}
