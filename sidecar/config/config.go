// Package config is the data plane's configuration: one immutable snapshot, made by the xDS client or from a bootstrap
// file, checked as a whole, and then swapped in behind an atomic pointer. Nothing in it changes after Validate.
package config

import (
	"net/netip"
	"time"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/accesslog"
)

// Protocol names how the bytes of a listener are read.
type Protocol uint8

// Protocols of this release.
const (
	TCP Protocol = iota
	Bolt
	HTTP1
	Dubbo
	HTTP2
	// Auto tells the protocol by the first bytes of each connection.
	Auto
)

// Direction of a listener, seen from the application that the sidecar belongs to.
type Direction uint8

// Inbound traffic goes to the application, outbound comes from it.
const (
	Inbound Direction = iota
	Outbound
)

// String is the direction's label in metrics.
func (d Direction) String() string {
	if d == Inbound {
		return "inbound"
	}
	return "outbound"
}

// Snapshot is everything the loops need. The zero value listens nowhere.
type Snapshot struct {
	// Version is shown in the config dump; it has no meaning.
	Version   string
	Listeners []Listener
	// Hosts by service key; the key "*" takes what no other matches.
	Hosts    map[string]*Host
	Clusters map[string]*Cluster
	// Tracing says where spans go, and under which name; the listeners say of which requests. Overload says what is left out when the
	// process is short of something. Nil leaves either to the bootstrap.
	Tracing  *bootstrap.Tracing  `json:",omitempty"`
	Overload *bootstrap.Overload `json:",omitempty"`
}

// Listener is one address to accept on. Its Name is its identity across snapshots and generations.
type Listener struct {
	Name      string
	Address   netip.AddrPort
	Protocol  Protocol
	Direction Direction
	// Cluster takes everything; when it is empty the request's service picks a Host, and Auto knows no TCP.
	Cluster string
	// ProxyProtocol says that each connection begins with a header of the PROXY protocol.
	ProxyProtocol bool
	// TLS that clients have to speak; nil for plain bytes.
	TLS *TLS
	// SamplePercent of the requests without a trace context get a span, where there is tracing; nil leaves that to the bootstrap.
	SamplePercent *float64 `json:",omitempty"`
	// AccessLog says which requests are logged; nil leaves that to the bootstrap.
	AccessLog *accesslog.Filter `json:",omitempty"`
	// Limit of the requests that this process takes here; a tcp listener has none to limit.
	Limit Limit
}

// Cluster is a set of interchangeable endpoints. Endpoints are sorted and unique.
type Cluster struct {
	Name      string
	Endpoints Endpoints
	// ConnectTimeout defaults to 1 s.
	ConnectTimeout time.Duration
	// Connections to each endpoint and loop, for multiplexed protocols; at least 1.
	Connections int
	// TLS that endpoints are spoken to in; nil for plain bytes.
	TLS *TLS
	// Traits of those endpoints that have more than an address.
	Traits    Traits `json:",omitempty"`
	Balancing Balancing
	// Limits of this process, all loops together; 0 means none. What is over one is answered with "server busy", or closed.
	MaxConnections int // to the endpoints, open or being opened; a loop that has none of a protocol opens one all the same
	MaxPending     int // requests that wait for a connection
	MaxRequests    int // requests without an answer
	MaxRetries     int // of those, the ones that are tried again
	// High are limits of their own for requests of high priority; nil counts them with the others.
	High *Breakers `json:",omitempty"`
	// Adaptive limits the open requests by what latency they have; nil does not.
	Adaptive *Adaptive `json:",omitempty"`
	// Outlier ejects endpoints that fail; nil ejects none. Check asks them; nil asks none.
	Outlier *Outlier `json:",omitempty"`
	Check   *Check   `json:",omitempty"`
}
