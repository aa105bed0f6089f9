package proxy_test

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// twins are two engines in the middle of a handover, without a transport.
type twins struct {
	from, to  *proxy.Engine
	donor     handover.Donor
	candidate handover.Candidate
	id        uint64

	mu   sync.Mutex
	hold bool // relays to the candidate
	held []handover.Relay
	lost bool                      // what the candidate relays from now on reaches nobody
	drop func(handover.Relay) bool // of the donor's; nil drops none
}

// begin starts a move between from, which serves s, and a new engine.
func begin(t *testing.T, from *proxy.Engine, s *config.Snapshot) *twins {
	t.Helper()
	return beginAs(t, from, s, func(warm []byte) []byte { return warm }, nil)
}

// beginAs is begin for a donor of another release: edit changes its state, and drop names the relays that it does not send.
func beginAs(t *testing.T, from *proxy.Engine, s *config.Snapshot, edit func(warm []byte) []byte, drop func(handover.Relay) bool) *twins {
	t.Helper()
	to, _ := newEngine(t, 2, 1)
	t.Cleanup(to.Stop)
	inner := *s
	inner.Listeners = nil
	if err := to.Apply(&inner); err != nil {
		t.Fatal(err)
	}
	w := &twins{from: from, to: to, donor: from.Donor(), candidate: to.Candidate(), drop: drop}
	state, err := w.donor.Warm()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.candidate.Warm(edit(state)); err != nil {
		t.Fatal(err)
	}
	w.candidate.BeginMove(w.toDonor)
	w.donor.BeginMove(w.toCandidate)
	w.donor.PauseAccept()
	return w
}

// freeze freezes a batch of so many connections, with duplicates of its descriptors, as a transport makes them.
func (w *twins) freeze(t *testing.T, want int) handover.Batch {
	t.Helper()
	w.id++
	b, err := w.donor.Freeze(w.id, 64)
	if err != nil || len(b.Conns) != want {
		t.Fatalf("froze %d connections, %v; want %d", len(b.Conns), err, want)
	}
	duplicate(t, &b)
	return b
}

func duplicate(t *testing.T, b *handover.Batch) {
	t.Helper()
	for i := range b.Conns {
		fd, err := unix.FcntlInt(uintptr(b.Conns[i].FD), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		b.Conns[i].FD, b.Conns[i].State = fd, bytes.Clone(b.Conns[i].State)
	}
}

func (w *twins) prepare(t *testing.T, b handover.Batch) {
	t.Helper()
	if err := w.candidate.Prepare(b); err != nil {
		t.Fatal(err)
	}
}

func (w *twins) commit(t *testing.T, b handover.Batch) {
	t.Helper()
	w.prepare(t, b)
	w.resume(b.ID)
}

// resume hands a batch over. RESUMED is known to both before anything that is relayed because of it.
func (w *twins) resume(id uint64) {
	w.mu.Lock()
	w.hold = true
	w.mu.Unlock()
	w.donor.Release(id)
	w.candidate.Activate(id)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.held {
		w.candidate.Relayed(r)
	}
	w.hold, w.held = false, nil
}

// toDonor passes a frame on, unless it is lost.
func (w *twins) toDonor(r handover.Relay) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost {
		return
	}
	w.donor.Relayed(r)
	if r.Taken != nil {
		r.Taken.Store(true)
	}
}

// lose makes what the candidate relays reach nobody: the donor has given up, and the candidate does not know yet.
func (w *twins) lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = true
}

// toCandidate passes a frame on.
func (w *twins) toCandidate(r handover.Relay) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.drop != nil && w.drop(r) {
		return
	}
	if w.hold {
		w.held = append(w.held, r)
		return
	}
	w.candidate.Relayed(r)
}

// abort ends the move as the machines do when both processes live.
func (w *twins) abort() {
	w.donor.EndMove()
	w.donor.ResumeAccept()
	w.candidate.StopAccept()
	w.candidate.(interface{ EndMove() }).EndMove()
}

// asker is a client worked by hand, with an endpoint worked by hand.
type asker struct {
	client net.Conn
	*backend
	s  *config.Snapshot
	e  *proxy.Engine
	in *bufio.Reader
}

func newAsker(t *testing.T) *asker {
	t.Helper()
	b, addr := newBackend(t), freePort(t)
	s := snapshot(addr, addrOf(b.ln.Addr().(*net.TCPAddr).AddrPort()))
	a := &asker{backend: b, s: s, e: started(t, 1, s)}
	a.join(t)
	return a
}

func (a *asker) join(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("tcp", a.s.Listeners[0].Address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	a.client, a.in = conn, bufio.NewReader(conn)
}

// ask sends a request with a timeout that no test waits for.
func (a *asker) ask(t *testing.T, id uint32) {
	t.Helper()
	f := frame(1, id, echoService, []byte{byte(id)})
	f[11] = 0xff
	write(t, a.client, f)
}

// seen is the endpoint's next request, which has to be the client's with this id.
func (a *asker) seen(t *testing.T, id uint32) message {
	t.Helper()
	m := a.read(t)
	if len(m.body) != 1 || m.body[0] != byte(id) {
		t.Fatalf("the endpoint got %+v, want request %d", m, id)
	}
	return m
}

func (a *asker) answer(t *testing.T, m message) {
	t.Helper()
	write(t, a.conn, frame(0, m.id, "", m.body))
}

// got checks the client's next answers: the status of each id.
func (a *asker) got(t *testing.T, want map[uint32]uint16) {
	t.Helper()
	for len(want) > 0 {
		m, err := readMessage(a.in)
		if err != nil {
			t.Fatal(err)
		}
		status, open := want[m.id]
		if !open || m.kind != 0 || m.status != status || status == 0 && (len(m.body) != 1 || m.body[0] != byte(m.id)) {
			t.Fatalf("got %+v; open are %v", m, want)
		}
		delete(want, m.id)
	}
}

func TestAnAbortAnswersWhatHasMoved(t *testing.T) {
	a := newAsker(t)
	a.ask(t, 1)
	a.accept(t)
	m1 := a.seen(t, 1)
	w := begin(t, a.e, a.s)
	b := w.freeze(t, 1)
	a.ask(t, 2) // waits for the batch
	until(t, "request 2 was taken", func() bool { return a.e.Stats().Requests[config.Outbound] == 2 })
	w.commit(t, b)
	m2 := a.seen(t, 2) // the candidate sends it
	a.ask(t, 3)
	a.answer(t, a.seen(t, 3))
	a.got(t, map[uint32]uint16{3: 0})
	w.abort()
	a.got(t, map[uint32]uint16{1: 5, 2: 5}) // nobody can bring their answers any more
	a.answer(t, m1)
	a.answer(t, m2)
	a.ask(t, 4)
	a.accept(t) // the donor has opened a connection of its own
	a.answer(t, a.seen(t, 4))
	a.got(t, map[uint32]uint16{4: 0})
}

func TestAnAbortBeforeTheCommitHasNoEffect(t *testing.T) {
	a := newAsker(t)
	a.ask(t, 1)
	a.accept(t)
	m1 := a.seen(t, 1)
	w := begin(t, a.e, a.s)
	b := w.freeze(t, 1)
	a.ask(t, 2)
	until(t, "request 2 was taken", func() bool { return a.e.Stats().Requests[config.Outbound] == 2 })
	w.prepare(t, b)
	a.answer(t, m1)
	w.candidate.Drop(b.ID)
	w.donor.Thaw(b.ID)
	w.abort()
	a.got(t, map[uint32]uint16{1: 0})
	a.answer(t, a.seen(t, 2)) // on the same connection
	a.got(t, map[uint32]uint16{2: 0})
}

// TestAnAnswerThatMeetsAFrozenClient comes to the donor while its client is frozen; it is given where the client ends up.
func TestAnAnswerThatMeetsAFrozenClient(t *testing.T) {
	for name, commits := range map[string]bool{"thawed": false, "moved": true} {
		t.Run(name, func(t *testing.T) {
			a := newAsker(t)
			a.ask(t, 1)
			a.accept(t)
			m1 := a.seen(t, 1)
			w := begin(t, a.e, a.s)
			w.commit(t, w.freeze(t, 1))
			b := w.freeze(t, 1)
			w.prepare(t, b)
			a.answer(t, m1)
			until(t, "the candidate has the answer", func() bool { return w.to.Stats().Waiting == 0 })
			if commits {
				w.resume(b.ID)
				w.freeze(t, 0)
				w.candidate.Done()
				w.freeze(t, 0)
			} else {
				w.candidate.Drop(b.ID)
				w.donor.Thaw(b.ID)
				w.abort()
			}
			a.got(t, map[uint32]uint16{1: 0})
		})
	}
}

func TestABatchThatCannotBePreparedStays(t *testing.T) {
	a := newAsker(t)
	a.ask(t, 1)
	a.accept(t)
	m1 := a.seen(t, 1)
	w := begin(t, a.e, a.s)
	open := descriptors(t)
	b := w.freeze(t, 1)
	b.Conns[0].State = b.Conns[0].State[:len(b.Conns[0].State)-1]
	if err := w.candidate.Prepare(b); err == nil {
		t.Fatal("a damaged state was prepared")
	}
	if n := descriptors(t); n != open {
		t.Errorf("%d descriptors are open, %d before", n, open)
	}
	w.donor.Thaw(b.ID)
	w.abort()
	a.answer(t, m1)
	a.got(t, map[uint32]uint16{1: 0})
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestAClientThatGoesWhileItsRequestsAreElsewhere(t *testing.T) {
	a := newAsker(t)
	a.ask(t, 1)
	a.accept(t)
	m1 := a.seen(t, 1)
	w := begin(t, a.e, a.s)
	w.commit(t, w.freeze(t, 1))
	a.ask(t, 2)
	m2 := a.seen(t, 2)
	_ = a.client.Close()
	until(t, "the client is gone", func() bool { return a.e.Stats().Downstream[config.Outbound] == 0 })
	a.answer(t, m1)
	a.answer(t, m2)
	until(t, "both answers are dropped", func() bool { return w.to.Stats().Late == 2 })
	w.freeze(t, 0)
	w.candidate.Done()
	if s := w.to.Stats(); s.Downstream[config.Outbound] != 0 || s.Waiting != 0 || s.Upstream != 1 {
		t.Errorf("%+v; want no client, nothing that waits, one connection", s)
	}
}

func TestAnEndpointThatClosesWhileItIsFrozen(t *testing.T) {
	a := newAsker(t)
	a.ask(t, 1)
	a.accept(t)
	a.seen(t, 1)
	w := begin(t, a.e, a.s)
	b := w.freeze(t, 1)
	_ = a.conn.Close()
	time.Sleep(10 * time.Millisecond) // its end is here, and nobody looks
	w.commit(t, b)
	a.got(t, map[uint32]uint16{1: 5})
}

// TestADroppedBatchLeavesNoTrace: the candidate serves on alone, because the donor has died, and its limit is free.
func TestADroppedBatchLeavesNoTrace(t *testing.T) {
	a := newAsker(t)
	a.s.Clusters["echo"].MaxRequests = 1
	a.ask(t, 1)
	a.accept(t)
	a.seen(t, 1)
	w := begin(t, a.e, a.s)
	b := w.freeze(t, 1)
	w.prepare(t, b)
	w.candidate.Drop(b.ID)
	w.candidate.(interface{ EndMove() }).EndMove()
	s := *a.s
	s.Listeners = []config.Listener{a.s.Listeners[0]}
	s.Listeners[0].Address = freePort(t)
	if err := w.to.Apply(&s); err != nil {
		t.Fatal(err)
	}
	w.to.Serve()
	a.s = &s
	a.join(t)
	a.ask(t, 2)
	a.accept(t)
	a.answer(t, a.seen(t, 2))
	a.got(t, map[uint32]uint16{2: 0})
}
