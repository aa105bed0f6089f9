package proxy

import (
	"maps"

	"github.com/axlemesh/axle/sidecar/config"
)

// Failure says why a request got an answer of our own, or none.
type Failure int8

// Failures.
const (
	FailNoRoute        Failure = iota // no host or route takes it
	FailNoEndpoint                    // its cluster is empty
	FailConnect                       // no endpoint could be reached
	FailBusy                          // a queue or a limit is full
	FailTimeout                       // no answer in time
	FailUpstreamClosed                // the endpoint closed the connection before it had answered
	FailHandover                      // the process that had taken the request died
	FailRule                          // a route answers with a status
	FailUnreadable                    // nothing says where it goes
	FailLimit                         // a rate limit has no token for it
	FailFault                         // a route spoils it on purpose
	FailShed                          // the process is overloaded
	failures
)

// String is the failure's label in metrics.
func (f Failure) String() string {
	return [failures]string{
		"no_route", "no_endpoint", "connect", "busy", "timeout", "upstream_closed", "handover", "rule", "unreadable", "rate_limit", "fault", "shed",
	}[f]
}

// Failures lists all of them.
func Failures() []Failure {
	all := make([]Failure, failures)
	for i := range all {
		all[i] = Failure(i)
	}
	return all
}

// ByDirection has one value for inbound and one for outbound traffic.
type ByDirection [config.Outbound + 1]uint64

// Counters only grow, over all generations: a new process starts from its predecessor's.
type Counters struct {
	Accepted  ByDirection // connections
	Requests  ByDirection // RPC requests taken from a client
	Answered  ByDirection // answers of an endpoint given to a client
	Errors    ByDirection // of those, with an error status
	Failed    [failures]uint64
	Dialled   uint64 // upstream connections opened
	Late      uint64 // answers that came after a timeout or another try's, for a client that had gone, or to a copy that a handover had cut off
	Malformed uint64 // connections closed because of what their peer sent
	Slow      uint64 // connections closed because their peer did not read
	Refused   uint64 // connections over the limit
	Moved     uint64 // connections that came in a handover
	Lost      uint64 // connections that a handover closed
	Mismatch  uint64 // connections whose kernel counters contradicted ours at a handover
	Reads     uint64 // system calls
	Writes    uint64

	Handshakes       uint64 // TLS handshakes that ended well
	HandshakesFailed uint64 // and those that did not
	Distrusted       uint64 // connections closed because their peer is not trusted any more, after a handover or a change of trust

	Mirrored      uint64 // copies that were answered
	MirrorDropped uint64 // copies that were due and not sent, or not answered

	Overflow [overflows]uint64 // what a limit of a cluster has turned away, or elsewhere
	Ejected  uint64            // endpoints, each time

	Retried       uint64 // tries after the first of requests that had reached an endpoint
	RetriesDenied uint64 // by a budget
	Hedged        uint64 // of the tries, those beside one that was still waited for
	HedgesWon     uint64 // and of those, the ones that have answered first
	Delayed       uint64 // requests, by a fault

	SpansSent    uint64             // that a collector has taken
	SpansDropped uint64             // and those that it was too slow for, or did not want
	Shed         [priorities]uint64 // requests that an overload has left out, by priority, the lowest first
	Unwelcome    uint64             // client connections that were refused because of one
	IdleClosed   uint64             // connections without a request that were closed because of one

	Received ByDirection // bytes from clients, as they are on the wire
	Sent     ByDirection // and to them

	Logged  uint64 // lines of the access log, written or about to be
	LogFull uint64 // those for which there was no room
	LogLost uint64 // those that could not be written

	// Series counts requests that have ended, up to a bound; see OtherRoutes. A route that no configuration names any more leaves it.
	Series seriesCounts `json:",omitempty"`
	// Upstreams counts what has become of connections to the endpoints of a cluster, by its name, like Clusters.
	Upstreams clusterCounts `json:",omitempty"`
	// Clusters counts the requests that were sent to endpoints, by the name of the cluster. A cluster that no configuration
	// names any more leaves it.
	Clusters map[string]uint64 `json:",omitempty"`
}

// each calls fn with every counter of c and its counterpart of o.
func (c *Counters) each(o *Counters, fn func(c, o *uint64)) {
	for d := range c.Requests {
		fn(&c.Accepted[d], &o.Accepted[d])
		fn(&c.Requests[d], &o.Requests[d])
		fn(&c.Answered[d], &o.Answered[d])
		fn(&c.Errors[d], &o.Errors[d])
		fn(&c.Received[d], &o.Received[d])
		fn(&c.Sent[d], &o.Sent[d])
	}
	for f := range c.Failed {
		fn(&c.Failed[f], &o.Failed[f])
	}
	fn(&c.Dialled, &o.Dialled)
	fn(&c.Late, &o.Late)
	fn(&c.Malformed, &o.Malformed)
	fn(&c.Slow, &o.Slow)
	fn(&c.Refused, &o.Refused)
	fn(&c.Moved, &o.Moved)
	fn(&c.Lost, &o.Lost)
	fn(&c.Mismatch, &o.Mismatch)
	fn(&c.Reads, &o.Reads)
	fn(&c.Writes, &o.Writes)
	fn(&c.Handshakes, &o.Handshakes)
	fn(&c.HandshakesFailed, &o.HandshakesFailed)
	fn(&c.Distrusted, &o.Distrusted)
	fn(&c.Mirrored, &o.Mirrored)
	fn(&c.MirrorDropped, &o.MirrorDropped)
	for l := range c.Overflow {
		fn(&c.Overflow[l], &o.Overflow[l])
	}
	fn(&c.Ejected, &o.Ejected)
	fn(&c.Retried, &o.Retried)
	fn(&c.RetriesDenied, &o.RetriesDenied)
	fn(&c.Hedged, &o.Hedged)
	fn(&c.HedgesWon, &o.HedgesWon)
	fn(&c.Delayed, &o.Delayed)
	fn(&c.SpansSent, &o.SpansSent)
	fn(&c.SpansDropped, &o.SpansDropped)
	for p := range c.Shed {
		fn(&c.Shed[p], &o.Shed[p])
	}
	fn(&c.Unwelcome, &o.Unwelcome)
	fn(&c.IdleClosed, &o.IdleClosed)
	fn(&c.Logged, &o.Logged)
	fn(&c.LogFull, &o.LogFull)
	fn(&c.LogLost, &o.LogLost)
}

func (c *Counters) add(o *Counters) {
	c.each(o, func(c, o *uint64) { *c += *o })
	c.Series = c.Series.add(o.Series)
	c.Upstreams = c.Upstreams.add(o.Upstreams)
	c.Clusters = maps.Clone(c.Clusters) // a Counters that was copied shares it
	for name, n := range o.Clusters {
		c.sent(name, n)
	}
}

// sub takes away an earlier reading.
func (c *Counters) sub(o *Counters) {
	c.each(o, func(c, o *uint64) { *c -= *o })
	c.Series = c.Series.sub(o.Series)
	c.Upstreams = c.Upstreams.sub(o.Upstreams)
	c.Clusters = maps.Clone(c.Clusters)
	for name, n := range o.Clusters {
		if now, ok := c.Clusters[name]; ok {
			c.Clusters[name] = now - min(n, now)
		}
	}
}

// sent adds n requests to a cluster's.
func (c *Counters) sent(cluster string, n uint64) {
	if n == 0 {
		return
	}
	if c.Clusters == nil {
		c.Clusters = map[string]uint64{}
	}
	c.Clusters[cluster] += n
}

// Stats are the counters and what is open now.
type Stats struct {
	Counters
	Downstream ByDirection // open client connections
	Upstream   uint64      // open upstream connections
	Waiting    uint64      // requests that wait for an answer
	Out        Out         // endpoints that get no requests now
	Load       map[string]*ClusterLoad
}

// ConnInfo describes one connection for people.
type ConnInfo struct {
	ID        uint64 `json:"id"`
	Loop      int    `json:"loop"`
	Kind      string `json:"kind"` // downstream, upstream
	Protocol  string `json:"protocol"`
	Listener  string `json:"listener,omitempty"`
	Cluster   string `json:"cluster,omitempty"`
	Endpoint  string `json:"endpoint,omitempty"`
	TLS       string `json:"tls,omitempty"` // version and suite
	Waiting   int    `json:"waiting"`
	RxBytes   uint64 `json:"rxBytes"`
	TxBytes   uint64 `json:"txBytes"`
	Unsent    int    `json:"unsent"`
	Frozen    bool   `json:"frozen,omitempty"`
	Connected bool   `json:"connected"`
}
