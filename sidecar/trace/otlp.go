package trace

import (
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Numbers of fields (opentelemetry/proto/collector/trace/v1/trace_service.proto, trace/v1/trace.proto, common/v1/common.proto,
// resource/v1/resource.proto).
const (
	requestResourceSpans = 1

	resourceSpansResource   = 1
	resourceSpansScopeSpans = 2

	resourceAttributes = 1

	scopeSpansScope = 1
	scopeSpansSpans = 2
	scopeName       = 1
	scopeVersion    = 2

	spanTraceID    = 1
	spanSpanID     = 2
	spanParentID   = 4
	spanName       = 5
	spanKind       = 6
	spanStart      = 7
	spanEnd        = 8
	spanAttributes = 9
	spanStatus     = 15
	spanFlags      = 16

	statusCode      = 3
	statusCodeError = 2

	keyValueKey   = 1
	keyValueValue = 2
	valueString   = 1
	valueBool     = 2
	valueInt      = 3
)

// Attribute is a word about all spans of a process.
type Attribute struct{ Key, Value string }

// appendSpan writes a span that ends now, as a field of ScopeSpans; scratch is memory for that.
func appendSpan(dst []byte, s *Span, end time.Time, took time.Duration, scratch []byte) (written, memory []byte) {
	b := protowire.AppendTag(scratch[:0], spanTraceID, protowire.BytesType)
	b = protowire.AppendBytes(b, s.Trace[:])
	b = protowire.AppendTag(b, spanSpanID, protowire.BytesType)
	b = protowire.AppendBytes(b, s.ID[:])
	if s.Parent != (SpanID{}) {
		b = protowire.AppendTag(b, spanParentID, protowire.BytesType)
		b = protowire.AppendBytes(b, s.Parent[:])
	}
	b = s.appendName(b)
	b = protowire.AppendTag(b, spanKind, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(s.Kind))
	b = protowire.AppendTag(b, spanStart, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, uint64(end.Add(-took).UnixNano()))
	b = protowire.AppendTag(b, spanEnd, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, uint64(end.UnixNano()))
	b = s.appendAttributes(b)
	if s.failed() {
		b = protowire.AppendTag(b, spanStatus, protowire.BytesType)
		b = protowire.AppendVarint(b, 2)
		b = protowire.AppendTag(b, statusCode, protowire.VarintType)
		b = protowire.AppendVarint(b, statusCodeError)
	}
	b = protowire.AppendTag(b, spanFlags, protowire.Fixed32Type)
	b = protowire.AppendFixed32(b, flagSampled)
	dst = protowire.AppendTag(dst, scopeSpansSpans, protowire.BytesType)
	return protowire.AppendBytes(dst, b), b
}

// appendName writes what a span is called: the method of HTTP, else "service/method" (semantic conventions, "Name").
func (s *Span) appendName(b []byte) []byte {
	b = protowire.AppendTag(b, spanName, protowire.BytesType)
	method, service := s.text(Method), s.text(Service)
	switch {
	case s.rpc() && len(service) > 0:
		b = protowire.AppendVarint(b, uint64(len(service)+1+len(method)))
		return append(append(append(b, service...), '/'), method...)
	case len(method) > 0:
		return protowire.AppendBytes(b, method)
	}
	return protowire.AppendString(b, systemNames[s.System])
}

func (s *Span) rpc() bool { return s.System >= GRPC }

// failed says whether the span's status is an error: what a server did not do, and for a client also what it should not have asked
// (semantic conventions of HTTP, "Status"; of RPC those of gRPC).
func (s *Span) failed() bool {
	switch {
	case s.Failure != "" || s.Moved:
		return s.Failure != "" && s.Failure != GoneWith
	case s.System == GRPC && s.Kind == Server:
		return s.Status >= 0 && grpcServerErrors&(1<<min(s.Status, 31)) != 0
	case s.System <= HTTP2:
		return s.Status >= 500 || s.Kind == Client && s.Status >= 400
	}
	return s.erroneous()
}

// erroneous says that an answer of RPC is not what its caller has hoped for.
func (s *Span) erroneous() bool {
	ok := int32(0)
	if s.System == DubboRPC {
		ok = dubboOK
	}
	return s.Status >= 0 && s.Status != ok
}

const dubboOK = 20

// grpcServerErrors has a bit for UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS.
const grpcServerErrors = 1<<2 | 1<<4 | 1<<12 | 1<<13 | 1<<14 | 1<<15

// errorType is the attribute error.type; empty for none.
func (s *Span) errorType() string {
	switch {
	case s.Failure != "":
		return s.Failure
	case s.failed():
		return strconv.Itoa(int(s.Status))
	}
	return ""
}

// appendPayload writes a request to the collector: spans are fields of ScopeSpans, as appendSpan writes them. resource and scope are
// the messages of that name. Only what comes before the spans is written.
func appendPayload(dst, resource, scope []byte, spans int) []byte {
	inner := sized(scopeSpansScope, len(scope)) + spans
	middle := sized(resourceSpansResource, len(resource)) + sized(resourceSpansScopeSpans, inner)
	dst = protowire.AppendTag(dst, requestResourceSpans, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(middle))
	dst = protowire.AppendTag(dst, resourceSpansResource, protowire.BytesType)
	dst = protowire.AppendBytes(dst, resource)
	dst = protowire.AppendTag(dst, resourceSpansScopeSpans, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(inner))
	dst = protowire.AppendTag(dst, scopeSpansScope, protowire.BytesType)
	return protowire.AppendBytes(dst, scope)
}

// sized is the size of a field that has n bytes.
func sized(field protowire.Number, n int) int {
	return protowire.SizeTag(field) + protowire.SizeBytes(n)
}

// resource writes a Resource.
func resource(all []Attribute) (b []byte) {
	for _, a := range all {
		b = appendString(b, resourceAttributes, a.Key, a.Value)
	}
	return b
}

// scope writes an InstrumentationScope.
func scope(name, version string) []byte {
	b := protowire.AppendTag(nil, scopeName, protowire.BytesType)
	b = protowire.AppendString(b, name)
	b = protowire.AppendTag(b, scopeVersion, protowire.BytesType)
	return protowire.AppendString(b, version)
}

// appendString writes a KeyValue with a string.
func appendString[V string | []byte](b []byte, field protowire.Number, key string, value V) []byte {
	b = appendKey(b, field, key, sized(valueString, len(value)))
	b = protowire.AppendTag(b, valueString, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(value)))
	return append(b, value...)
}

// appendInt writes an attribute of a span that is an integer.
func appendInt(b []byte, key string, value int64) []byte {
	b = appendKey(b, spanAttributes, key, protowire.SizeTag(valueInt)+protowire.SizeVarint(uint64(value)))
	b = protowire.AppendTag(b, valueInt, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(value))
}

// appendTrue writes an attribute of a span that is true.
func appendTrue(b []byte, key string) []byte {
	b = appendKey(b, spanAttributes, key, protowire.SizeTag(valueBool)+1)
	b = protowire.AppendTag(b, valueBool, protowire.VarintType)
	return protowire.AppendVarint(b, 1)
}

// appendKey writes a KeyValue up to its AnyValue, which has size bytes.
func appendKey(b []byte, field protowire.Number, key string, size int) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(sized(keyValueKey, len(key))+sized(keyValueValue, size)))
	b = protowire.AppendTag(b, keyValueKey, protowire.BytesType)
	b = protowire.AppendString(b, key)
	b = protowire.AppendTag(b, keyValueValue, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(size))
}
