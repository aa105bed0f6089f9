package proxy

import (
	"bytes"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// A request that moves is counted by the process that ends it. What that has to know goes ahead of its connection, as a relay
// of its own: a build that does not know such relays drops them and takes the connections all the same.

// recordVersion begins every relay of records. A build drops those of a version that it does not know.
const recordVersion = 1

// maxRelayRecords is about how many bytes of records one relay carries.
const maxRelayRecords = 32 << 10

// recordPlace names a request: its connection, and what tells it from others there (a slot, a stream, or nothing).
type recordPlace struct{ conn, id uint64 }

// accountState is the account of one request, written down.
type accountState struct {
	name SeriesName
	age  time.Duration // since the request came
	code Code          // of the answer, when that has begun
	flag Flag
	line []byte // of the access log, as accesslog.Entry.Move; empty for none
}

func (e *encoder) record(at recordPlace, r *accountState) {
	e.uint(at.conn)
	e.uint(at.id)
	e.byte(byte(r.name.Direction))
	e.string(r.name.Protocol.String())
	e.string(r.name.Host)
	e.string(r.name.Route)
	e.uint(uint64(r.age))
	e.uint(uint64(r.code))
	e.string(r.flag.String())
	e.bytes(r.line)
}

func (d *decoder) record() (at recordPlace, r accountState) {
	at = recordPlace{d.uint(), d.uint()}
	r.name.Direction = config.Direction(d.byte())
	r.name.Protocol = spokenNamed(d.string())
	r.name.Host, r.name.Route = d.string(), d.string()
	r.age, r.code = time.Duration(d.uint()), Code(min(d.uint(), uint64(codeOther)))
	r.flag = flagNamed(d.string())
	r.line = bytes.Clone(d.bytes())
	d.bad = d.bad || r.name.Direction > config.Outbound || r.name.Protocol >= spokens || r.age < 0
	return at, r
}

// recorder relays records, many at once.
type recorder struct {
	w *worker
	e encoder
}

func (r *recorder) add(conn, id uint64, a *account, code Code, flag Flag) {
	if a.tally == nil {
		return
	}
	if len(r.e.b) == 0 {
		r.e.byte(recordVersion)
	}
	s := accountState{name: a.tally.name, age: r.w.loop.Now() - a.began, code: code, flag: flag}
	if a.line != nil {
		s.line = a.line.Move(nil, r.w.loop.Now())
	}
	r.e.record(recordPlace{conn, id}, &s)
	if len(r.e.b) >= maxRelayRecords {
		r.flush()
	}
}

func (r *recorder) flush() {
	if len(r.e.b) > 0 && r.w.relay != nil {
		s := relayState{kind: relayRecords, frame: r.e.b}
		r.w.relay(handover.Relay{Loop: r.w.index, Data: s.write()})
	}
	r.e.b = nil
}

// relayRecords sends the accounts of what a batch moves ahead of it.
func (w *worker) relayRecords(b *frozen) {
	r := recorder{w: w}
	for _, up := range b.ups {
		up.slots.Each(func(slot *upstream.Slot[waiting]) {
			if v := &slot.Value; v.down != nil && !v.down.gone {
				r.add(up.conn.ID, uint64(slot.ID()), &v.account, 0, FlagNone)
			}
		})
	}
	for _, p := range b.pairs {
		r.add(p.legs()[0].ID, 0, &p.account, 0, p.flag) // the client's, unless that has ended
	}
	for _, c := range b.clients {
		if c.x.active {
			r.add(c.conn.ID, 0, &c.x.goal.account, c.x.code, c.x.flag)
		}
	}
	for _, c := range b.http2Clients {
		c.proto.Each(func(s *http2.Stream) {
			if x, _ := s.Owner.(*http2Exchange); x != nil {
				r.add(c.id, uint64(s.ID), &x.goal.account, x.code, x.flag)
			}
		})
	}
	r.flush()
}

// keepRecords takes back what was sent ahead of a batch that stays: a relay without records. What ends here meanwhile would be
// counted once more where it moves.
func (w *worker) keepRecords() {
	if w.relay != nil {
		s := relayState{kind: relayRecords, frame: []byte{recordVersion}}
		w.relay(handover.Relay{Loop: w.index, Data: s.write()})
	}
}

// takeRecords keeps accounts until their connections come.
func (w *worker) takeRecords(b []byte) {
	d := decoder{b: b}
	if d.byte() != recordVersion {
		return
	}
	if len(d.b) == 0 {
		clear(w.records)
	}
	for len(d.b) > 0 && !d.bad {
		if at, r := d.record(); !d.bad {
			w.records[at] = r
		}
	}
}

// recorded takes a moved request's account, if there is one, and what was known of its answer.
func (w *worker) recorded(a *account, conn, id uint64) (Code, Flag) {
	at := recordPlace{conn, id}
	r, ok := w.records[at]
	if !ok {
		return 0, FlagNone
	}
	delete(w.records, at)
	all := w.tallies[r.name.RouteName]
	if all == nil {
		all = w.tallies[OtherRoutes] // a route that the configuration here has not
	}
	a.tally = all.at(r.name.Direction, r.name.Protocol)
	a.began = w.loop.Now() - r.age
	if len(r.line) > 0 && w.log != nil {
		w.recordedLine(a, r.line)
	}
	return r.code, r.flag
}

// presume makes the account of a request that has come without one from a release that keeps none. Of its route nothing is known but
// what the route still does, or that its listener has none; of its age nothing, but that a plan may say it. It has no line.
func (w *worker) presume(a *account, route *target, from *config.Listener, s Spoken) {
	if !w.presumes || a.tally != nil {
		return
	}
	all := w.tallies[OtherRoutes]
	if route != nil {
		all = route.tallies
	} else if t := w.tallies[straightName(from.Cluster)]; from.Cluster != "" && t != nil {
		all = t
	}
	a.tally = all.at(from.Direction, s)
	if a.began == 0 {
		a.began = w.loop.Now()
	}
}

// presume makes the account of such an exchange, unless its answer's status has passed already.
func (x *exchange) presume() {
	c := x.client
	switch {
	case c.over, x.answered && !x.tunnel:
		return
	case x.tunnel && x.Connect:
		x.code = CodeOf(200)
	case x.tunnel:
		x.code = CodeOf(101)
	}
	c.w.presume(&x.goal.account, x.goal.route, c.from, SpokenHTTP1)
}

// presume likewise. A gRPC status comes at the end.
func (x *http2Exchange) presume() {
	if !x.answered || x.grpc && !x.response.end {
		x.w.presume(&x.goal.account, x.goal.route, x.client.from, x.spoken())
	}
}

// recordedLine takes over a line that another process has begun.
func (w *worker) recordedLine(a *account, moved []byte) {
	e := w.log.TakeMoved()
	if err := e.Moved(moved, w.loop.Now()); err != nil {
		w.engine.log.Error(err, "a request that has moved is not logged")
		return
	}
	e.Filter = w.filter(e.Listener)
	a.line = e
}
