package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/bolt"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
)

// The first byte of a connection state is its version: statePlain, and what the state has besides. This build reads all of
// them, and writes a higher one only for what the first cannot say, so that a build which knows no other takes everything else.
const (
	statePlain   = 1
	stateSecured = 1 // the connection has TLS
	statePlanned = 2 // an HTTP client's exchange, and each request that waits, ends with what its route's plan needs
	stateNewest  = statePlain + stateSecured + statePlanned
)

// role says what a connection is to its worker.
type role uint8

const (
	roleDownstream role = iota + 1
	roleUpstream
	roleTCPClient
	roleTCPEndpoint
	roleHTTPClient // with a listener of Auto it is undecided, under TLS; see opening.state
	roleHTTPEndpoint
	roleDubboClient   // a roleDownstream that speaks Dubbo: a build that does not know Dubbo must not take it for Bolt
	roleDubboEndpoint // and a roleUpstream
	roleHTTP2Client
	roleHTTP2Endpoint
)

// rpcRole is the role of a connection that multiplexes in this protocol, where it is r in Bolt.
func rpcRole(r role, p config.Protocol) role {
	switch {
	case p != config.Dubbo:
		return r
	case r == roleDownstream:
		return roleDubboClient
	}
	return roleDubboEndpoint
}

// protocol that a connection to an endpoint multiplexes in.
func (r role) protocol() config.Protocol {
	if r == roleDubboEndpoint {
		return config.Dubbo
	}
	return config.Bolt
}

// connState is one connection, written down: everything that a new process needs to carry on at this byte. Which fields
// have a meaning depends on the role.
type connState struct {
	role  role
	image loop.Image

	listener config.Listener // of a client's connection: enough to serve it, whatever the new configuration says
	cluster  string          // of an endpoint's connection
	endpoint netip.AddrPort
	leaving  bool
	waiting  []waitingState
	client   uint64 // the client's connection, of the endpoint's in a pair
	exchange exchangeState
	used     bool // of an HTTP endpoint's connection
	reusable bool
	http2    []byte // the protocol's state of an HTTP/2 connection, and of a client's its exchanges
}

// waitingState is one request without an answer.
type waitingState struct {
	slot  uint32 // its id on the upstream connection
	down  uint64 // the client's connection; 0 when the client has had its answer
	from  config.Direction
	reply rpcReply // to the client, with its own id
	beat  bool
	left  time.Duration
	plan  planState
}

// write returns s as bytes. Integers are varints, strings and byte strings are preceded by their length.
func (s *connState) write() []byte {
	e := encoder{planned: s.planned()}
	version := byte(statePlain)
	if s.image.Cipher != nil {
		version += stateSecured
	}
	if e.planned {
		version += statePlanned
	}
	e.byte(version)
	e.byte(byte(s.role))
	e.image(&s.image)
	e.secured(&s.image)
	switch s.role {
	case roleDownstream, roleTCPClient, roleDubboClient, roleAccepted:
		e.listener(&s.listener)
	case roleUpstream, roleDubboEndpoint:
		e.string(s.cluster)
		e.addr(s.endpoint)
		e.bool(s.leaving)
		e.uint(uint64(len(s.waiting)))
		for i := range s.waiting {
			e.waiting(&s.waiting[i])
		}
	case roleTCPEndpoint:
		e.string(s.cluster)
		e.addr(s.endpoint)
		e.uint(s.client)
	case roleHTTPClient:
		e.listener(&s.listener)
		e.exchange(&s.exchange)
	case roleHTTPEndpoint:
		e.string(s.cluster)
		e.addr(s.endpoint)
		e.uint(s.client)
		e.bool(s.used)
		e.bool(s.reusable)
	case roleHTTP2Client:
		e.listener(&s.listener)
		e.bytes(s.http2)
	case roleHTTP2Endpoint:
		e.string(s.cluster)
		e.addr(s.endpoint)
		e.bool(s.leaving)
		e.bytes(s.http2)
	}
	return e.b
}

// errState says that a connection state ends too early or has a value that no build writes.
var errState = errors.New("connection state is damaged")

// parseState reads what write has written. The state's bytes are the caller's.
func parseState(b []byte) (*connState, error) {
	d := decoder{b: b}
	v := d.byte() - statePlain
	if d.planned = v&statePlanned != 0; v > stateNewest-statePlain {
		return nil, fmt.Errorf("connection state has version %d, this build reads %d to %d", v+statePlain, statePlain, stateNewest)
	}
	s := &connState{role: role(d.byte())}
	d.image(&s.image)
	if v&stateSecured != 0 {
		d.secured(&s.image)
	}
	switch s.role {
	case roleDownstream, roleTCPClient, roleDubboClient, roleAccepted:
		d.listener(&s.listener)
		d.bad = d.bad || s.role != roleAccepted && (s.role == roleDubboClient) != (s.listener.Protocol == config.Dubbo)
	case roleUpstream, roleDubboEndpoint:
		s.cluster, s.endpoint, s.leaving = d.string(), d.addr(), d.bool()
		for n := d.uint(); n > 0 && !d.bad; n-- {
			s.waiting = append(s.waiting, d.waiting(s.role.protocol()))
		}
	case roleTCPEndpoint:
		s.cluster, s.endpoint, s.client = d.string(), d.addr(), d.uint()
	case roleHTTPClient:
		d.listener(&s.listener)
		d.exchange(&s.exchange)
	case roleHTTPEndpoint:
		s.cluster, s.endpoint, s.client = d.string(), d.addr(), d.uint()
		s.used, s.reusable = d.bool(), d.bool()
	case roleHTTP2Client:
		d.listener(&s.listener)
		s.http2 = d.bytes()
	case roleHTTP2Endpoint:
		s.cluster, s.endpoint, s.leaving, s.http2 = d.string(), d.addr(), d.bool(), d.bytes()
	default:
		return nil, fmt.Errorf("%w: role %d", errState, s.role)
	}
	if d.bad || len(d.b) > 0 {
		return nil, errState
	}
	return s, nil
}

// encoder appends to b.
type encoder struct {
	b       []byte
	planned bool // as statePlanned
}

func (e *encoder) byte(v byte)     { e.b = append(e.b, v) }
func (e *encoder) uint(v uint64)   { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) bytes(v []byte)  { e.uint(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) string(v string) { e.uint(uint64(len(v))); e.b = append(e.b, v...) }

func (e *encoder) bool(v bool) {
	if v {
		e.byte(1)
	} else {
		e.byte(0)
	}
}

func (e *encoder) addr(a netip.AddrPort) {
	b, err := a.MarshalBinary()
	if err != nil {
		b = nil // no zone and no address gives none
	}
	e.bytes(b)
}

func (e *encoder) image(i *loop.Image) {
	e.uint(i.ID)
	e.uint(i.Rx)
	e.uint(i.Tx)
	for _, flag := range []bool{i.Dialled, i.EOF, i.Finished, i.Lingering, i.Paused} {
		e.bool(flag)
	}
	e.bytes(i.In)
	e.bytes(i.Out)
}

func (e *encoder) listener(l *config.Listener) {
	e.string(l.Name)
	e.addr(l.Address)
	e.byte(byte(l.Protocol))
	e.byte(byte(l.Direction))
	e.string(l.Cluster)
}

func (e *encoder) waiting(v *waitingState) {
	e.uint(uint64(v.slot))
	e.uint(v.down)
	e.byte(byte(v.from))
	e.byte(byte(v.reply.version))
	e.uint(v.reply.id)
	e.byte(v.reply.codec)
	e.bool(v.beat)
	e.uint(uint64(v.left))
	if e.planned {
		e.plan(&v.plan)
	}
}

// decoder takes from b; bad is set once something was missing.
type decoder struct {
	b       []byte
	bad     bool
	planned bool // as in encoder
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) bool() bool { return d.byte() == 1 }

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string { return string(d.bytes()) }

func (d *decoder) addr() (a netip.AddrPort) {
	if b := d.bytes(); len(b) > 0 && a.UnmarshalBinary(b) != nil {
		d.bad = true
	}
	return a
}

func (d *decoder) image(i *loop.Image) {
	i.ID, i.Rx, i.Tx = d.uint(), d.uint(), d.uint()
	for _, flag := range []*bool{&i.Dialled, &i.EOF, &i.Finished, &i.Lingering, &i.Paused} {
		*flag = d.bool()
	}
	i.In, i.Out = d.bytes(), d.bytes()
}

func (d *decoder) listener(l *config.Listener) {
	l.Name, l.Address = d.string(), d.addr()
	l.Protocol, l.Direction = config.Protocol(d.byte()), config.Direction(d.byte())
	l.Cluster = d.string()
	if l.Direction > config.Outbound {
		d.bad = true
	}
}

func (d *decoder) waiting(p config.Protocol) waitingState {
	v := waitingState{
		slot: uint32(d.uint()), down: d.uint(), from: config.Direction(d.byte()),
		reply: rpcReply{protocol: p, version: bolt.Version(d.byte()), id: d.uint(), codec: d.byte()},
		beat:  d.bool(), left: time.Duration(d.uint()),
	}
	if d.planned {
		v.plan = d.plan()
	}
	if p == config.Dubbo && (v.reply.version != 0 || v.reply.codec != 0) || p == config.Bolt && v.reply.id > math.MaxUint32 {
		d.bad = true
	}
	if v.from > config.Outbound || v.reply.version > bolt.V2CRC || v.left < 0 {
		d.bad = true
	}
	return v
}
