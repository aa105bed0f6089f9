package proxy

import (
	"bytes"
	"math"
	"strconv"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/codec/soap"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/route"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// reply answers a request ourselves. A gRPC client gets its kind of status, in trailers only when nothing was answered yet.
func (x *http2Exchange) reply(status int) {
	if x.down.LocalEnded() {
		return
	}
	x.code = CodeOf(status)
	if x.grpc {
		x.code = CodeOf(x.grpcStatus(status))
	}
	f := &x.w.http2.fields
	f.Reset()
	switch {
	case !x.grpc:
		f.AddStatus(status)
		f.Add("content-length", "0")
		if x.goal.why == FailShed {
			f.Add("retry-after", strconv.Itoa(retryAfter))
		}
	case !x.answered:
		f.AddStatus(200)
		f.Add("content-type", "application/grpc")
		fallthrough
	default:
		f.Add("grpc-status", strconv.Itoa(x.grpcStatus(status)))
		f.Add("grpc-message", "axle: "+grpcMessage(x.flag, status))
	}
	x.client.headers(x.down, f, true)
}

// grpcStatus is what the sidecar's own answer with an HTTP status says in gRPC's words.
func (x *http2Exchange) grpcStatus(status int) int {
	if x.goal.why == FailShed {
		return grpcExhausted
	}
	return grpcStatus(status)
}

// Statuses of gRPC (its doc/statuscodes.md).
const (
	grpcUnknown          = 2
	grpcDeadlineExceeded = 4
	grpcPermissionDenied = 7
	grpcExhausted        = 8 // "server overload situations": unlike unavailable, clients do not send it again by themselves
	grpcUnimplemented    = 12
	grpcInternal         = 13
	grpcUnavailable      = 14
	grpcDataLoss         = 15
	grpcUnauthenticated  = 16
)

// grpcOutcome is the outcome of a call whose grpc-status this is, as httpOutcome has it of the HTTP status that goes with it.
func grpcOutcome(status []byte) upstream.Outcome {
	switch n, _ := strconv.Atoi(string(status)); n {
	case grpcDeadlineExceeded, grpcUnavailable:
		return upstream.OutcomeGateway
	case grpcUnknown, grpcUnimplemented, grpcInternal, grpcDataLoss:
		return upstream.OutcomeError
	}
	return upstream.OutcomeOK
}

// grpcCode is the code of a grpc-status; one that is no number is unknown.
func grpcCode(status []byte) Code {
	if n, err := strconv.Atoi(string(status)); err == nil {
		return CodeOf(n)
	}
	return CodeOf(grpcUnknown)
}

// grpcStatus says in gRPC's words what an HTTP status says, as gRPC's doc/http-grpc-status-mapping.md has it; but that our own
// timeout is one.
func grpcStatus(status int) int {
	switch status {
	case 400:
		return grpcInternal
	case 401:
		return grpcUnauthenticated
	case 403:
		return grpcPermissionDenied
	case httpNoRoute, httpNotImplemented:
		return grpcUnimplemented
	case httpTimeout:
		return grpcDeadlineExceeded
	case httpTooMany, httpBadGateway, httpUnavailable:
		return grpcUnavailable
	}
	if status/100 == 3 {
		return grpcUnimplemented
	}
	return grpcUnknown
}

// grpcMessage says what was wrong, else what a status stands for.
func grpcMessage(why Flag, status int) string {
	switch why {
	case FlagOf(FailShed):
		return "the sidecar is overloaded"
	case FlagOf(FailFault):
		return "a fault that the call's route asks for, with status " + strconv.Itoa(status)
	case FlagOf(FailBusy):
		return "a queue or a limit of the sidecar is full"
	}
	switch status {
	case httpTooMany:
		return "a limit of the sidecar is reached"
	case httpNoRoute:
		return "no route takes this call"
	case httpTimeout:
		return "no answer in time"
	case httpBadGateway:
		return "the endpoint has ended the connection"
	case httpUnavailable:
		return "no endpoint can take this call"
	}
	if status/100 == 3 {
		return "the call's route redirects, which gRPC does not follow"
	}
	return "a route answers with status " + strconv.Itoa(status)
}

// http2View is what a route may ask a request for.
type http2View struct {
	fields *http2.Fields
	joined []byte
}

// Path of the request without its query.
func (v *http2View) Path() ([]byte, bool) {
	path, _, _ := bytes.Cut(v.fields.Path(), question)
	return path, len(path) > 0
}

var question = []byte{'?'}

// Header returns the values of all fields of that name as one list (RFC 9110 section 5.3), or the first value of a parameter
// of the query.
func (v *http2View) Header(name string) ([]byte, bool) {
	if name[0] == config.QueryPrefix[0] {
		return parameter(v.fields.Path(), name[1:])
	}
	value, ok, more := v.fields.Values(name)
	if !more {
		return value, ok
	}
	v.joined = v.fields.AppendValues(v.joined[:0], name)
	return v.joined, true
}

// decide routes a request. One that names no deadline has none unless its route does: it may be a stream that is silent for hours.
func (x *http2Exchange) decide(f *http2.Fields) (to goal) {
	w, c := x.w, x.client
	if x.grpc {
		value, _, _ := f.Values("grpc-timeout")
		to.timeout = grpcTimeout(value)
	}
	w.http2.view.fields = f
	if c.from.Cluster != "" {
		w.straight(&to, &c.fixed, c.from)
		to.hash = to.cluster.hash(nil, &w.http2.view, &c.source, c.conn)
		return to
	}
	r, is := x.soap(f)
	if !is {
		r = w.routes.Match(w.hostKey(f.Authority()), f.Method(), &w.http2.view)
	}
	w.decide(&to, r, &w.http2.view)
	to.hash = to.cluster.hash(r, &w.http2.view, &c.source, c.conn)
	return to
}

// soap returns the route of a call whose header says which it is, if a route names its service; r is nil when none of those takes
// it. The body, which comes later, is not looked at.
func (x *http2Exchange) soap(f *http2.Fields) (r *route.Route, is bool) {
	media := f.ContentType()
	if x.grpc || len(media) == 0 || string(f.Method()) != "POST" {
		return nil, false
	}
	req := soap.Request{Method: f.Method(), ContentType: media}
	req.Action, req.HasAction, _ = f.Values("soapaction")
	call, ok := soap.Find(&req)
	if !ok {
		return nil, false
	}
	routes := x.w.routes.Named(call.Service)
	if routes == nil {
		return nil, false
	}
	return route.Match(routes, call.Operation, &x.w.http2.view), true
}

// grpcTimeout reads at most eight digits and a unit; 0 when it is nothing of that.
func grpcTimeout(b []byte) time.Duration {
	last := len(b) - 1
	if last < 1 || last > 8 {
		return 0
	}
	n := time.Duration(0)
	for _, c := range b[:last] {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + time.Duration(c-'0')
	}
	unit := time.Duration(0)
	switch b[last] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	}
	if unit > 0 && n > math.MaxInt64/unit {
		return 0
	}
	if n*unit > 0 {
		return max(n*unit, time.Millisecond)
	}
	return 0
}
