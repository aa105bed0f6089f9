package trace

import (
	"strconv"

	"github.com/axlemesh/axle/sidecar/address"
)

// systemNames name a span whose request has no name of its own.
var systemNames = [systems]string{HTTP1: "HTTP", HTTP2: "HTTP", GRPC: "grpc", BoltRPC: "sofa_rpc", DubboRPC: "apache_dubbo"}

// appendAttributes writes what is known of the request, by OpenTelemetry's semantic conventions as far as they have a word for it.
func (s *Span) appendAttributes(b []byte) []byte {
	text := func(key string, t Text) {
		if v := s.text(t); len(v) > 0 {
			b = appendString(b, spanAttributes, key, v)
		}
	}
	if s.rpc() {
		b = appendString(b, spanAttributes, "rpc.system", systemNames[s.System])
		text("rpc.service", Service)
		text("rpc.method", Method)
	} else {
		text("http.request.method", Method)
		text("url.path", Path)
	}
	text("server.address", Host)
	if version := [systems]string{HTTP1: "1.1", HTTP2: "2", GRPC: "2"}[s.System]; version != "" {
		b = appendString(b, spanAttributes, "network.protocol.name", "http")
		b = appendString(b, spanAttributes, "network.protocol.version", version)
	}
	b = s.appendStatus(b)
	b = s.appendPeer(b)
	if e := s.errorType(); e != "" {
		b = appendString(b, spanAttributes, "error.type", e)
	}
	if s.Retries > 0 && !s.rpc() {
		b = appendInt(b, "http.request.resend_count", int64(s.Retries))
	}
	text("sofa.trace_id", SOFATrace)
	text("sofa.rpc_id", SOFACall)
	text("sofa.caller_app", SOFAApp)
	return s.appendOwn(b)
}

func (s *Span) appendStatus(b []byte) []byte {
	switch {
	case s.Status < 0:
	case s.System == GRPC:
		return appendInt(b, "rpc.grpc.status_code", int64(s.Status))
	case s.rpc():
		return appendString(b, spanAttributes, "rpc.response.status_code", strconv.Itoa(int(s.Status)))
	default:
		return appendInt(b, "http.response.status_code", int64(s.Status))
	}
	return b
}

func (s *Span) appendPeer(b []byte) []byte {
	if !s.Peer.IsValid() {
		return b
	}
	if s.Kind == Server {
		return appendString(b, spanAttributes, "client.address", s.Peer.Addr().String())
	}
	if name, unix := address.UnixName(s.Peer); unix {
		return appendString(b, spanAttributes, "network.peer.address", name)
	}
	b = appendString(b, spanAttributes, "network.peer.address", s.Peer.Addr().String())
	return appendInt(b, "network.peer.port", int64(s.Peer.Port()))
}

// appendOwn writes what only this sidecar knows.
func (s *Span) appendOwn(b []byte) []byte {
	for _, a := range [...]Attribute{
		{"axle.listener", s.Listener}, {"axle.route.host", s.RouteHost}, {"axle.route.name", s.Route}, {"axle.cluster", s.Cluster},
		{"axle.failure", s.Failure},
	} {
		if a.Value != "" {
			b = appendString(b, spanAttributes, a.Key, a.Value)
		}
	}
	if s.Retries > 0 {
		b = appendInt(b, "axle.retries", int64(s.Retries))
	}
	if s.Moved {
		b = appendTrue(b, "axle.moved")
	}
	return b
}
