package proxy

import (
	"bytes"
	"hash/fnv"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/bolt"
	"github.com/axlemesh/axle/sidecar/codec/http1"
	"github.com/axlemesh/axle/sidecar/codec/soap"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/route"
	"github.com/axlemesh/axle/sidecar/trace"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// goal is what a loop has decided for one request: it is not decided again, but for a request that reached no endpoint of
// a cluster before a snapshot dropped that cluster.
type goal struct {
	cluster  *cluster      // that takes it; nil when it is answered here, with status
	mirror   *cluster      // that gets a copy; nil for none
	timeout  time.Duration // of the whole request; 0 for none (HTTP)
	attempts int8          // that are left, this one included
	why      Failure
	probe    bool   // a health check, which is never shed; looked for only while something is
	status   int16  // HTTP status of the answer when there is no cluster
	hash     uint64 // for a cluster that balances by it; 0 for none
	priority config.Priority

	route *target // nil for what no route has chosen
	account
	delay time.Duration // before anything else happens to it
	call  *call         // of a request that is sent again; see call.go
	span  *trace.Span   // nil for none; see trace.go
}

// copyTimeout is how long the answer to a copy is waited for, which nobody else does.
func (g *goal) copyTimeout() time.Duration {
	if g.timeout == 0 {
		return mirrorTimeout
	}
	return min(g.timeout, mirrorTimeout)
}

// limits of the goal's cluster, for its priority.
func (g *goal) limits() *upstream.Limits { return g.cluster.limits.Of(g.priority) }

// target is one loop's view of a route.
type target struct {
	first    *cluster   // of clusters
	clusters []*cluster // as route.Route.Clusters
	mirror   *cluster
	places   *places
	name     RouteName
	tallies  *tallies
	plan     *plan // what the route does besides; nil for most
}

// places are a loop's places in the choices of one route. They outlive snapshots, which come whenever an endpoint does.
type places struct{ split, mirror, delay, abort, backoff route.Sequence }

// straight names the clusters that listeners send everything to.
func straight(all []config.Listener) (names []string) {
	for i := range all {
		if all[i].Cluster != "" {
			names = append(names, all[i].Cluster)
		}
	}
	return names
}

// retarget makes the targets of a new table.
func (w *worker) retarget(routes *route.Table, straight []string) {
	known := w.places
	w.routes, w.places, w.planned = routes, map[string]*places{}, map[string]*target{}
	w.targets = make([]target, routes.Len())
	w.recount(routes, straight)
	routes.Each(func(r *route.Route) {
		t := target{name: nameOf(r)}
		for _, name := range r.Clusters {
			t.clusters = append(t.clusters, w.clusters[name])
		}
		if len(t.clusters) > 0 {
			t.first = t.clusters[0]
		}
		if r.Mirror != "" {
			t.mirror = w.clusters[r.Mirror]
		}
		if r.Key != "" {
			if t.places = known[r.Key]; t.places == nil {
				t.places = w.newPlaces(r.Key)
			}
			w.places[r.Key] = t.places
		}
		if t.tallies = w.tallies[nameOf(r)]; r.Acts() {
			t.plan = w.newPlan(r, t.places)
			w.planned[r.Key] = &w.targets[r.Index]
		}
		w.targets[r.Index] = t
	})
}

// newPlaces starts at another place in each sidecar, generation, loop and route.
func (w *worker) newPlaces(key string) *places {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	at := w.engine.seed ^ h.Sum64() ^ uint64(w.engine.options.Generation)<<8 ^ uint64(w.index)
	start := func(n uint64, nth int) route.Sequence { return route.Start(mix(at+n), nth) }
	return &places{split: start(0, 0), mirror: start(1, 1), delay: start(2, 2), abort: start(3, 3), backoff: start(4, 0)}
}

// mix spreads what differs in few bits over all (splitmix64's finaliser).
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// decide says where a request goes that r takes; r is nil when no route does.
func (w *worker) decide(to *goal, r *route.Route, req route.Request) {
	if r == nil {
		to.status, to.why = httpNoRoute, FailNoRoute
		return
	}
	t := &w.targets[r.Index]
	to.route, to.priority = t, r.Rank(req)
	switch {
	case r.Redirect != nil:
		to.status, to.why = int16(r.Redirect.Status), FailRule
		return
	case r.Status != 0:
		to.status, to.why = int16(r.Status), FailRule
		return
	case r.Timeout > 0:
		to.timeout = r.Timeout
	}
	to.cluster, to.attempts = t.first, int8(r.Attempts)
	if t.places == nil {
		return
	}
	if !sabotageSplit {
		to.cluster = t.clusters[choose(r, &t.places.split, req)]
	}
	if r.Mirrors(&t.places.mirror) {
		to.mirror = t.mirror
	}
}

// choose returns which of a route's clusters a request goes to.
func choose(r *route.Route, at *route.Sequence, req route.Request) int {
	if r.Sticky != "" {
		if value, ok := req.Header(r.Sticky); ok {
			return r.Stick(value)
		}
	}
	return r.Choose(at)
}

// boltView is what a route may ask a Bolt request for.
type boltView struct{ frame bolt.Frame }

// Path is a notion of HTTP.
func (v *boltView) Path() ([]byte, bool) { return nil, false }

// Header looks a name up in the header map.
func (v *boltView) Header(name string) ([]byte, bool) { return v.frame.Lookup(name) }

// clientFirst is how much longer we wait than a client says that it does. Its own timer is to fire before our answer comes,
// because clients tell the two apart: sofa-rpc-node calls only its own a timeout.
const clientFirst = 500 * time.Millisecond

// goal routes a request of d.
func (w *worker) goal(d *downstream, f rpcFrame) goal {
	if f.reply.protocol == config.Dubbo {
		return w.dubboGoal(d, f)
	}
	return w.boltGoal(d, bolt.Seen(f.raw))
}

func (w *worker) boltGoal(d *downstream, f bolt.Frame) (to goal) {
	to.timeout = f.Timeout() + clientFirst
	if f.Kind() == bolt.Oneway || f.Timeout() == 0 {
		to.timeout = config.Forgotten
	}
	if d.from.Cluster != "" {
		w.straight(&to, &d.fixed, d.from)
		w.boltView.frame = f
		to.hash = to.cluster.hash(nil, &w.boltView, &d.source, d.conn)
		return to
	}
	key := f.Key()
	routes := w.routes.Host(key.Service)
	w.boltView.frame = f
	r := route.Plain(routes)
	if r == nil {
		r = route.Match(routes, key.Method, &w.boltView)
	}
	w.decide(&to, r, &w.boltView)
	to.hash = to.cluster.hash(r, &w.boltView, &d.source, d.conn)
	return to
}

// straight decides for what comes from a listener that sends everything to one cluster.
func (w *worker) straight(to *goal, known **cluster, from *config.Listener) {
	to.cluster, to.attempts = w.fixed(known, from), config.DefaultAttempts
	to.status, to.why = httpNoRoute, FailNoRoute
}

// httpView is what a route may ask an HTTP request for.
type httpView struct {
	req    *http1.Request
	joined []byte
}

// Path of the target, as the client has written it.
func (v *httpView) Path() ([]byte, bool) {
	path := v.req.Target.Path
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	if len(path) == 0 && v.req.Target.Form == http1.Absolute {
		path = rootPath
	}
	return path, len(path) > 0
}

var rootPath = []byte{'/'}

// Header returns the values of all fields of that name as one list (RFC 9110 section 5.3), or the first value of a parameter
// of the query.
func (v *httpView) Header(name string) ([]byte, bool) {
	if name[0] == config.QueryPrefix[0] {
		return parameter(v.req.Target.Path, name[1:])
	}
	value, ok, more := v.req.Values(name)
	if !more {
		return value, ok
	}
	v.joined = v.req.AppendValues(v.joined[:0], name)
	return v.joined, true
}

// goal routes an HTTP request of c; body is what has come of it with the head. SOAP's service and operation are asked for
// first.
func (c *httpClient) goal(req *http1.Request, body []byte) (to goal) {
	w := c.w
	w.httpView.req = req
	if c.from.Cluster != "" {
		w.straight(&to, &c.fixed, c.from)
		to.hash = to.cluster.hash(nil, &w.httpView, &c.source, c.conn)
		return to
	}
	if call, ok := soapCall(req, body); ok {
		if routes := w.routes.Named(call.Service); routes != nil {
			c.decide(&to, route.Match(routes, call.Operation, &w.httpView))
			return to
		}
	}
	c.decide(&to, w.routes.Match(w.hostKey(req.Target.Authority), req.Method, &w.httpView))
	return to
}

// decide is worker.decide for a request of c, which the worker's view shows.
func (c *httpClient) decide(to *goal, r *route.Route) {
	c.w.decide(to, r, &c.w.httpView)
	to.hash = to.cluster.hash(r, &c.w.httpView, &c.source, c.conn)
}

// parameter returns the value of the first parameter with this name in a target's query, as it is encoded there.
func parameter(target []byte, name string) ([]byte, bool) {
	_, rest, _ := bytes.Cut(target, question)
	for len(rest) > 0 {
		var one []byte
		one, rest, _ = bytes.Cut(rest, []byte{'&'})
		key, value, _ := bytes.Cut(one, []byte{'='})
		if len(key) > 0 && string(key) == name {
			return value, true
		}
	}
	return nil, false
}

// soapCall finds the call in a request that may be SOAP.
func soapCall(req *http1.Request, body []byte) (soap.Call, bool) {
	if len(req.Method) != len("POST") {
		return soap.Call{}, false
	}
	r := soap.Request{Method: req.Method}
	r.ContentType, _ = req.Value("Content-Type")
	r.Action, r.HasAction = req.Value("SOAPAction")
	framing := req.Body
	r.Body, _, _ = framing.Payload(body) // of chunks the first
	return soap.Find(&r)
}

// Suffixes of a Service's name in DNS, longest first.
var dnsSuffixes = [...]string{".svc.cluster.local", ".svc"}

// hostKey is the service key of an authority: its host in lower case, without the port, a final dot, and the cluster's DNS
// suffix. A name without a dot is a Service of the pod's own namespace. The result is valid until the next call.
func (w *worker) hostKey(authority []byte) []byte {
	if i := bytes.LastIndexByte(authority, ':'); i >= 0 && bytes.IndexByte(authority[i:], ']') < 0 {
		authority = authority[:i]
	}
	key := w.hostName[:0]
	for _, c := range authority {
		if c-'A' < 26 {
			c += 'a' - 'A'
		}
		key = append(key, c)
	}
	key = bytes.TrimSuffix(key, []byte{'.'})
	for _, suffix := range dnsSuffixes {
		head := len(key) - len(suffix)
		if head > 0 && string(key[head:]) == suffix && bytes.IndexByte(key[:head], '.') >= 0 {
			key = key[:head]
			break
		}
	}
	if ns := w.engine.options.Namespace; ns != "" && len(key) > 0 && key[0] != '[' && bytes.IndexByte(key, '.') < 0 {
		key = append(append(key, '.'), ns...)
	}
	w.hostName = key
	return key
}
