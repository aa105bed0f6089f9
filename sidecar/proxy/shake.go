package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handshake"
	"github.com/axlemesh/axle/sidecar/loop"
)

const (
	// shakePatience is how long a client's handshake may take. A handover waits for it at its end.
	shakePatience = 5 * time.Second
	// maxShakes go on at once in one loop: each has a goroutine and some 30 kB. Others wait in turn.
	maxShakes = 128
	// maxAhead is how much of a peer's is kept that the handshake has not read yet.
	maxAhead = 64 << 10
)

// First bytes of a record (RFC 8446 section 5.1): a handshake, and five bytes of header in all.
const (
	firstOfTLS   = 22
	recordHeader = 5
	maxHello     = 16 << 10 // in one record
)

var (
	errShakeTimeout = errors.New("TLS handshake: it takes too long")
	errShakeEnded   = errors.New("TLS handshake: the peer went away")
	errNotTLS       = errors.New("TLS handshake: the client does not begin one")
)

// shaking is a connection as long as its TLS handshake is not over, and its handler. Nobody else knows a client's
// connection before; an endpoint's is known to its own handler as one that is not open.
type shaking struct {
	w       *worker
	conn    *loop.Conn
	context *handshake.Context // nil when the configuration here has none: a connection that came in a handover is plain then
	from    *config.Listener   // of a client's connection
	inner   loop.Handler       // of an endpoint's
	cluster string             // likewise
	rules   handshake.Rules    // that the handshake began with
	run     *handshake.Handshake
	timer   loop.Timer
	queued  bool
	heard   time.Duration // when the peer has last said something
	told    bool          // the log says why it has failed
	gone    bool          // the peer has ended it
}

// shakes are the handshakes of one loop.
type shakes struct {
	all map[uint64]*shaking // by connection
	// undecided have not shown their protocol, and may take their time.
	undecided map[uint64]*opening
	running   int
	opening   int // connections that have to show their protocol soon
	queue     []*shaking
	yield     loop.Timer    // while there is a queue
	idle      chan struct{} // closed when none is running or opening any more; nil when nobody waits
	untold    int           // peers that were somebody else, since the last one that the log has
	told      time.Duration // when that was
}

// arrival is a client's connection that nobody handles yet: a new descriptor, or a connection whose handshake is over.
type arrival struct {
	fd   int
	id   uint64
	conn *loop.Conn
	// traffic counts the bytes of a new descriptor.
	traffic *loop.Traffic
}

// add gives the connection its handler.
func (a arrival) add(l *loop.Loop, h loop.Handler) (*loop.Conn, error) {
	if a.conn == nil {
		conn, err := l.Add(a.fd, a.id, h)
		if conn != nil {
			conn.Traffic = a.traffic
		}
		return conn, err
	}
	a.conn.Handler = h
	return a.conn, nil
}

// connect dials an endpoint of c for h, which hears Connected when the cluster's TLS is up, and Closed before that when
// it does not come up. h sets the deadline.
func (w *worker) connect(c *cluster, addr netip.AddrPort, h loop.Handler) (*loop.Conn, error) {
	if c.Config.TLS == nil {
		conn, err := w.loop.Dial(addr, w.engine.nextID(), h)
		if err == nil {
			conn.Traffic = &c.traffic
		}
		return conn, err
	}
	s := &shaking{w: w, inner: h, cluster: c.name, context: w.engine.contexts.Load().clusters[c.name]}
	if s.context == nil {
		return nil, fmt.Errorf("dial %s: the certificates of cluster %q are not there", address.String(addr), c.name)
	}
	if err := s.context.Missing(); err != nil {
		return nil, fmt.Errorf("dial %v: cluster %q: %w", addr, c.name, err)
	}
	conn, err := w.loop.Dial(addr, w.engine.nextID(), s)
	if err != nil {
		return nil, err
	}
	conn.Shake()
	s.conn, conn.Traffic = conn, &c.traffic
	w.shakes.all[conn.ID] = s
	return conn, nil
}

// shake takes a client's new connection whose listener has TLS.
func (w *worker) shake(a arrival, from *config.Listener) {
	s := &shaking{w: w, from: from, context: w.engine.contexts.Load().listeners[from.Name]}
	s.timer.Owner = s
	conn, err := a.add(w.loop, s)
	s.conn = conn
	if err != nil {
		w.closed(from, err)
		return
	}
	conn.Shake()
	w.shakes.all[conn.ID] = s
	s.await()
}

// await sets a deadline, but for a client that may speak plainly, and so may say nothing for as long as it likes.
func (s *shaking) await() {
	if s.context != nil && !s.context.Permissive() {
		s.w.loop.Start(&s.timer, shakePatience)
	}
}

// Connected begins our side of a handshake with an endpoint.
func (s *shaking) Connected(*loop.Conn) { s.start() }

// Data feeds the handshake. A client's begins when its first record is here as a whole; before that the connection can
// still be given away.
func (s *shaking) Data(c *loop.Conn, b []byte) int {
	if s.run == nil && !s.begun(b) {
		return 0
	}
	s.heard = s.w.loop.Now()
	if s.run.Feed(b) > maxAhead {
		c.Pause()
	}
	return len(b)
}

// begun looks at the first bytes of a client and says whether its handshake goes on now.
func (s *shaking) begun(b []byte) bool {
	s.renew()
	switch {
	case s.queued || s.inner != nil:
		return false
	case s.context == nil, b[0] != firstOfTLS && s.context.Permissive():
		s.plain()
		return false
	case b[0] != firstOfTLS, len(b) >= recordHeader && int(b[3])<<8+int(b[4]) > maxHello:
		s.w.count.Malformed++
		s.conn.Close(errNotTLS)
		return false
	}
	if !s.timer.Armed() {
		s.w.loop.Start(&s.timer, shakePatience)
	}
	if len(b) < recordHeader || len(b) < recordHeader+int(b[3])<<8+int(b[4]) {
		return false
	}
	s.start()
	return s.run != nil
}

// plain serves a client that speaks without TLS.
func (s *shaking) plain() {
	s.leave()
	s.conn.Bare()
	s.w.serve(arrival{id: s.conn.ID, conn: s.conn}, s.from)
	s.conn.Replay()
}

// start runs the handshake, now or when another one has ended.
func (s *shaking) start() {
	w := s.w
	if w.shakes.running >= maxShakes {
		w.shakes.wait(s)
		return
	}
	s.renew()
	w.shakes.running++
	s.heard = w.loop.Now()
	s.rules = s.context.Rules() // before Config: what changes in between is found out at the end
	s.run = handshake.New(s.context.Config(), s.inner == nil, s)
	w.engine.running.Go(s.run.Run)
}

// next makes room for another handshake after one has ended.
func (x *shakes) next() {
	x.running--
	for x.running < maxShakes && len(x.queue) > 0 {
		s := x.queue[0]
		x.queue = x.queue[1:]
		if s.queued = false; s.conn.Closed() || s.conn.Frozen() {
			continue // a frozen one begins where it is thawed
		}
		s.start()
		s.conn.Resume()
		s.conn.Replay()
	}
	x.settle()
}

// settle tells who waits for it that no connection is between two owners any more.
func (x *shakes) settle() {
	if x.running+x.opening == 0 && x.idle != nil {
		close(x.idle)
		x.idle = nil
	}
}

// Send passes the handshake's bytes on. It runs in the handshake's goroutine, as Done does.
func (s *shaking) Send(b []byte) { s.w.loop.Post(func() { s.conn.Write(b) }) }

// Done gives the connection to who it is for.
func (s *shaking) Done(r handshake.Result) { s.w.loop.Post(func() { s.done(r) }) }

func (s *shaking) done(r handshake.Result) {
	w := s.w
	defer w.shakes.next()
	if s.conn.Closed() {
		if s.gone && r.Err != nil && (s.inner != nil || !errors.Is(r.Err, errShakeEnded)) {
			s.tell(r.Err)
		}
		return
	}
	if r.Err == nil {
		r.Err = s.outrun(r.Chain)
	}
	if r.Err != nil {
		s.tell(r.Err)
		s.conn.Fail(r.Err)
		return
	}
	w.count.Handshakes++
	s.leave()
	s.conn.Secure(&secured{Session: r.Session, chain: r.Chain, at: s.place()}, s.run.Rest())
	s.conn.Resume()
	if s.inner != nil {
		s.conn.Handler = s.inner
		s.inner.Connected(s.conn)
	} else {
		w.serve(arrival{id: s.conn.ID, conn: s.conn}, s.from)
	}
	s.conn.Replay()
}

func (s *shaking) place() place {
	if s.from != nil {
		return place{name: s.from.Name}
	}
	return place{s.cluster, true}
}

// renew takes the certificates of the configuration in force now: the connection may have been silent for long.
func (s *shaking) renew() {
	if now := s.w.engine.contexts.Load().at(s.place()); now != nil && s.context != nil {
		s.context = now
	}
}

// outrun checks a peer again where the rules have changed in its handshake: nobody else would.
func (s *shaking) outrun(chain [][]byte) error {
	now := s.w.engine.contexts.Load().at(s.place())
	if now == nil || now.Rules() == s.rules {
		return nil
	}
	return now.Verify(chain)
}

// leave forgets that the connection was one without a handshake.
func (s *shaking) leave() {
	s.w.loop.Cancel(&s.timer)
	delete(s.w.shakes.all, s.conn.ID)
}

// EOF ends it.
func (s *shaking) EOF(c *loop.Conn) {
	if s.run == nil && s.inner == nil {
		c.Close(nil)
		return
	}
	c.Close(errShakeEnded)
}

// Drained needs nothing: what a handshake writes is bounded.
func (s *shaking) Drained(*loop.Conn) {}

// Expire ends a handshake that does not.
func (s *shaking) Expire() { s.conn.Close(errShakeTimeout) }

func (s *shaking) tell(why error) {
	if !s.told {
		s.told = true
		s.w.tell(s.place(), why)
	}
}

// Closed tells the handshake and who the connection was for.
func (s *shaking) Closed(c *loop.Conn, why error) {
	s.leave()
	if s.run != nil {
		s.run.Abort(errShakeEnded)
	}
	if why != nil && (s.inner == nil || s.run != nil) { // where there was no connection there was no handshake
		s.w.count.HandshakesFailed++
		switch {
		case errors.Is(why, errNotTLS), errors.Is(why, errShakeTimeout), s.inner != nil && !errors.Is(why, errShakeEnded):
			s.tell(why)
		default: // it may have said why; who only looks whether a port is open has not
			s.gone = s.run != nil
		}
	}
	if s.inner != nil {
		s.inner.Closed(c, why)
		return
	}
	s.w.closed(s.from, why)
}
