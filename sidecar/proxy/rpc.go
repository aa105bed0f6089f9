package proxy

import (
	"errors"
	"math"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/bolt"
	"github.com/axlemesh/axle/sidecar/codec/dubbo"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// Bolt and Dubbo are served by the same code: many requests on one connection, each with an id that the answer repeats. This
// file is all that knows how one of their frames differs from the other's; what routes a request is in route.go.

// rpcKind is what a frame is for.
type rpcKind uint8

const (
	rpcResponse rpcKind = iota // of a heartbeat, too
	rpcRequest
	rpcOneway
	rpcHeartbeat // wants an answer
	rpcGoAway    // no further requests
	rpcNews      // nothing is to be done
)

// rpcFrame is one whole frame, a view that is valid as long as its bytes are.
type rpcFrame struct {
	raw     []byte
	reply   rpcReply
	kind    rpcKind
	outcome upstream.Outcome // of a response
}

// rpcReply is what has to be known of a request to answer it, also after its frame is gone; of a response, its own.
type rpcReply struct {
	id       uint64
	protocol config.Protocol
	version  bolt.Version // the form of a Bolt frame
	codec    byte
}

// next makes r the first frame of b, which a peer has sent that speaks this protocol.
func (r *rpcFrame) next(p config.Protocol, b []byte) error {
	if p == config.Dubbo {
		f, err := dubbo.Next(b)
		if err == nil {
			r.dubbo(f)
		}
		return err
	}
	f, err := bolt.Next(b)
	if err == nil {
		r.bolt(f)
	}
	return err
}

// incomplete says that the bytes end inside the frame.
func incomplete(err error) bool {
	return errors.Is(err, bolt.ErrShort) || errors.Is(err, dubbo.ErrShort)
}

// keptFrame reads a frame that a sidecar has written down. Its first byte tells whose it is.
func keptFrame(b []byte) (r rpcFrame, err error) {
	p := config.Bolt
	if len(b) > 0 && b[0] == dubbo.FirstByte {
		p = config.Dubbo
	}
	err = r.next(p, b)
	return r, err
}

func (r *rpcFrame) bolt(f bolt.Frame) {
	r.raw, r.kind, r.outcome = f.Bytes(), rpcRequest, upstream.OutcomeOK
	r.reply = rpcReply{uint64(f.ID()), config.Bolt, f.Version(), f.Codec()}
	switch kind := f.Kind(); {
	case kind == bolt.Response:
		r.kind, r.outcome = rpcResponse, boltOutcome(f.Status())
	case f.Heartbeat():
		r.kind = rpcHeartbeat
	case f.GoAway():
		r.kind = rpcGoAway
	case kind == bolt.Oneway:
		r.kind = rpcOneway
	}
}

func (r *rpcFrame) dubbo(f dubbo.Frame) {
	r.raw, r.kind, r.outcome = f.Bytes(), rpcRequest, upstream.OutcomeOK
	r.reply = rpcReply{id: f.ID(), protocol: config.Dubbo}
	switch kind := f.Kind(); {
	case kind == dubbo.Response:
		r.kind, r.outcome = rpcResponse, dubboOutcome(f.Status())
	case f.ReadOnly():
		r.kind = rpcGoAway
	case f.Event() && kind == dubbo.Oneway:
		r.kind = rpcNews
	case f.Event():
		r.kind = rpcHeartbeat
	case kind == dubbo.Oneway:
		r.kind = rpcOneway
	}
}

// putID rewrites the id of a frame of this protocol, which b begins with, in place.
func putID(p config.Protocol, b []byte, id uint64) {
	if p == config.Dubbo {
		dubbo.PutID(b, id)
		return
	}
	bolt.PutID(b, uint32(id))
}

// answering returns a response as the client reads it that waits for to: with its id, and in its form.
func (r rpcFrame) answering(to rpcReply) []byte {
	putID(to.protocol, r.raw, to.id)
	if r.reply.version == to.version {
		return r.raw
	}
	if b := bolt.Seen(r.raw); !b.Suits(to.version) {
		return b.AppendAs(nil, to.version)
	}
	return r.raw
}

// slot is the id of a response as one of a slot; ok is false when no slot has such an id.
func (r rpcFrame) slot() (id uint32, ok bool) {
	return uint32(r.reply.id), r.reply.id <= math.MaxUint32
}

// appendAck appends the answer to a heartbeat.
func (r rpcFrame) appendAck(dst []byte) []byte {
	if r.reply.protocol == config.Dubbo {
		return dubbo.Seen(r.raw).AppendAck(dst)
	}
	return r.reply.bolt().AppendHeartbeatAck(dst)
}

// appendHeartbeat appends a heartbeat of our own.
func appendHeartbeat(dst []byte, p config.Protocol, id uint32) []byte {
	if p == config.Dubbo {
		return dubbo.AppendHeartbeat(dst, uint64(id))
	}
	return bolt.AppendHeartbeat(dst, id, uint32(beatTimeout/time.Millisecond))
}

func (r rpcReply) bolt() bolt.Reply {
	return bolt.Reply{Version: r.version, ID: uint32(r.id), Codec: r.codec}
}

// appendFailure appends our own answer to a request.
func (r rpcReply) appendFailure(dst []byte, why Failure) []byte {
	if r.protocol == config.Dubbo {
		f := &dubboFailures[why]
		return dubbo.AppendError(dst, r.id, f.status, f.message)
	}
	return r.bolt().AppendStatus(dst, boltFailures[why])
}

// boltFailures are the statuses that Bolt clients get.
var boltFailures = [failures]bolt.Status{
	FailNoRoute: bolt.StatusNoProcessor, FailNoEndpoint: bolt.StatusCommunication, FailConnect: bolt.StatusCommunication,
	FailBusy: bolt.StatusServerBusy, FailTimeout: bolt.StatusTimeout, FailUpstreamClosed: bolt.StatusCommunication,
	FailHandover: bolt.StatusCommunication, FailRule: bolt.StatusNoProcessor, FailUnreadable: bolt.StatusNoProcessor,
	FailShed: bolt.StatusServerBusy,
}

// dubboFailures are the statuses that Dubbo clients get, with a message for people.
var dubboFailures = [failures]struct {
	status  dubbo.Status
	message string
}{
	FailNoRoute:        {dubbo.StatusServiceNotFound, "axle: no route takes this service, version and group"},
	FailNoEndpoint:     {dubbo.StatusChannelInactive, "axle: the service has no endpoint"},
	FailConnect:        {dubbo.StatusChannelInactive, "axle: no endpoint of the service could be reached"},
	FailBusy:           {dubbo.StatusExhausted, "axle: a queue or a limit of the sidecar is full"},
	FailTimeout:        {dubbo.StatusServerTimeout, "axle: the service has not answered in time"},
	FailUpstreamClosed: {dubbo.StatusChannelInactive, "axle: the service closed the connection before it had answered"},
	FailHandover:       {dubbo.StatusChannelInactive, "axle: the sidecar that had taken the request died"},
	FailRule:           {dubbo.StatusServiceNotFound, "axle: a rule refuses the request"},
	FailShed:           {dubbo.StatusExhausted, "axle: the sidecar is overloaded"},
	FailUnreadable: {
		dubbo.StatusBadRequest, "axle: the request cannot be routed: its service and group can be read only if it is in hessian2, " +
			"with arguments that nest at most 32 deep and have at most 256 classes",
	},
}
