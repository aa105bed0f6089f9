package accesslog

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/axlemesh/axle/sidecar/address"
)

// Field is one field of a line.
type Field struct {
	Name string
	// What it is, for people.
	What string
	// append writes the value, or nothing when there is none: the line has no such field then.
	append func(dst []byte, e *Entry, at time.Time) []byte
}

// Fields of a line, in their order.
func Fields() []Field { return fields }

var fields = []Field{
	{"time", "when the request came, in UTC, to the microsecond", func(b []byte, _ *Entry, at time.Time) []byte {
		return append(at.UTC().AppendFormat(append(b, '"'), "2006-01-02T15:04:05.000000Z"), '"')
	}},
	{"direction", "`inbound` or `outbound`", func(b []byte, e *Entry, _ time.Time) []byte { return quoted(b, e.Direction) }},
	{"protocol", "`http1`, `http2`, `grpc`, `bolt`, `dubbo` or `tcp`, as in metrics", func(b []byte, e *Entry, _ time.Time) []byte { return quoted(b, e.Protocol) }},
	{"listener", "that took it", func(b []byte, e *Entry, _ time.Time) []byte { return word(b, e.Listener) }},
	{"host", "as in metrics", func(b []byte, e *Entry, _ time.Time) []byte { return quoted(b, e.Host) }},
	{"route", "as in metrics", func(b []byte, e *Entry, _ time.Time) []byte { return quoted(b, e.Route) }},
	{"cluster", "that it went to; missing when it was answered here", func(b []byte, e *Entry, _ time.Time) []byte { return word(b, e.Cluster) }},
	{"endpoint", "of the last try", func(b []byte, e *Entry, _ time.Time) []byte {
		if !e.Endpoint.IsValid() {
			return b
		}
		if _, unix := address.UnixName(e.Endpoint); unix {
			return quoted(b, address.String(e.Endpoint))
		}
		return append(e.Endpoint.AppendTo(append(b, '"')), '"')
	}},
	{"client", "address of the client: as its PROXY header says, else of its end of the connection", func(b []byte, e *Entry, _ time.Time) []byte {
		if !e.Client.IsValid() {
			return b
		}
		return append(e.Client.AppendTo(append(b, '"')), '"')
	}},
	{"peer", "identity in the client's certificate: its first URI, else its first DNS name, else its subject", said(Peer)},
	{"method", "of HTTP, or of the RPC service", said(Method)},
	{"authority", "of HTTP, as the client has written it", said(Authority)},
	{"path", "of HTTP, with its query; cut off behind 2048 bytes", said(Path)},
	{"service", "of RPC: the key that routes go by", said(Service)},
	{"status", "of HTTP, Bolt or Dubbo", func(b []byte, e *Entry, _ time.Time) []byte { return number(b, e.Status) }},
	{"grpc_status", "of gRPC", func(b []byte, e *Entry, _ time.Time) []byte { return number(b, e.GRPC) }},
	{"flags", "what was wrong, as `flag` in metrics; `-` for nothing", func(b []byte, e *Entry, _ time.Time) []byte { return quoted(b, e.Flag) }},
	{"bytes_in", "from the client: the body of HTTP, the frame of Bolt and Dubbo, everything of tcp", func(b []byte, e *Entry, _ time.Time) []byte { return strconv.AppendUint(b, e.In, 10) }},
	{"bytes_out", "to the client, likewise; of an answer of the sidecar's own nothing is counted", func(b []byte, e *Entry, _ time.Time) []byte { return strconv.AppendUint(b, e.Out, 10) }},
	{"duration_us", "from the request to its end, in microseconds", func(b []byte, e *Entry, _ time.Time) []byte { return strconv.AppendInt(b, e.Took.Microseconds(), 10) }},
	{"upstream_us", "from the last try to the beginning of its answer (tcp: to the open connection), in microseconds", func(b []byte, e *Entry, _ time.Time) []byte {
		if e.Sent == 0 || e.Heard == 0 || e.Heard < e.Sent {
			return b
		}
		return strconv.AppendInt(b, (e.Heard - e.Sent).Microseconds(), 10)
	}},
	{"tries", "how often it was sent to an endpoint", func(b []byte, e *Entry, _ time.Time) []byte { return strconv.AppendInt(b, int64(e.Tries), 10) }},
	{"trace_id", "of `traceparent`, `b3`, `x-b3-traceid` or SOFATracer, if the request has one", said(TraceID)},
	{"request_id", "`x-request-id`, if the request has one", said(RequestID)},
}

func said(t Text) func([]byte, *Entry, time.Time) []byte {
	return func(b []byte, e *Entry, _ time.Time) []byte { return word(b, e.Text(t)) }
}

// number writes nothing for -1.
func number(b []byte, n int) []byte {
	if n < 0 {
		return b
	}
	return strconv.AppendInt(b, int64(n), 10)
}

// word is quoted, nothing for what is empty.
func word[T string | []byte](b []byte, s T) []byte {
	if len(s) == 0 {
		return b
	}
	return quoted(b, s)
}

const hex = "0123456789abcdef"

// quoted appends s as a JSON string (RFC 8259 section 7). Bytes that are not UTF-8 become U+FFFD.
func quoted[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		i++
	}
	return append(b, '"')
}

// appendLine appends the entry as a line; at is when the request came.
func (e *Entry) appendLine(dst []byte, at time.Time) []byte {
	dst = append(dst, '{')
	first := true
	for i := range fields {
		f := &fields[i]
		before := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), f.Name...), '"', ':')
		begun := len(dst)
		if dst = f.append(dst, e, at); len(dst) == begun {
			dst = dst[:before]
			continue
		}
		first = false
	}
	return append(dst, '}', '\n')
}
