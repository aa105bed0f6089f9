package handover

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	"golang.org/x/sys/unix"
)

// donorHost is a Donor whose connections are one end of socket pairs; the test holds the other ends.
type donorHost struct {
	warm      []byte
	warmErr   error
	active    []int // descriptors, served here
	batches   map[uint64][]int
	part      int // how many of a batch are offered at once; 0 for all
	parts     bool
	rest      []int
	parted    int // batches in parts
	stateSize func(i int) int
	accepting bool
	held      bool
	moving    bool
	relay     func(Relay)
	onMove    func(relay func(Relay))
	onFreeze  func(id uint64)
	relayed   func(Relay)
	released  int
	thawed    int
}

func (d *donorHost) Warm() ([]byte, error) { return d.warm, d.warmErr }
func (d *donorHost) PauseAccept()          { d.accepting = false }
func (d *donorHost) ResumeAccept()         { d.accepting = true }
func (d *donorHost) HoldConfig(hold bool)  { d.held = hold }
func (d *donorHost) EndMove()              { d.moving = false }

func (d *donorHost) BeginMove(relay func(Relay)) {
	d.moving, d.relay = true, relay
	if d.onMove != nil {
		d.onMove(relay)
	}
}

func (d *donorHost) Freeze(id uint64, limit int) (Batch, error) {
	if d.onFreeze != nil {
		d.onFreeze(id)
	}
	if d.batches == nil {
		d.batches = map[uint64][]int{}
	}
	if len(d.rest) == 0 {
		n := min(limit, len(d.active))
		d.batches[id] = d.active[:n:n]
		d.rest, d.active = d.active[:n:n], d.active[n:]
	}
	n := len(d.rest)
	if d.parts && d.part > 0 {
		n = min(n, d.part)
	}
	b := Batch{ID: id, Loop: 1, More: n < len(d.rest)}
	if b.More {
		d.parted++
	}
	for i, fd := range d.rest[:n] {
		size := 16
		if d.stateSize != nil {
			size = d.stateSize(i)
		}
		state := bytes.Repeat([]byte{byte(fd)}, size)
		b.Conns = append(b.Conns, Conn{FD: fd, State: state, Counters: Counters{Consumed: uint64(fd), Written: uint64(size)}})
	}
	d.rest = d.rest[n:]
	return b, nil
}

// inParts makes both ends do batches in parts.
func (m *meeting) inParts(n int) {
	m.serve.Features, m.take.Features, m.donor.part = FeatureParts, FeatureParts, n
}

func (d *donorHost) Split(may bool) { d.parts = may }

func (d *donorHost) Thaw(id uint64) {
	d.rest = nil
	d.active = append(d.active, d.batches[id]...)
	d.thawed += len(d.batches[id])
	delete(d.batches, id)
}

func (d *donorHost) Release(id uint64) {
	d.released += len(d.batches[id])
	_ = closeAll(d.batches[id])
	delete(d.batches, id)
}

func (d *donorHost) Relayed(r Relay) {
	if d.relayed != nil {
		d.relayed(r)
	}
}

// candHost is a Candidate that keeps what it is given.
type candHost struct {
	warm      []byte
	readyErr  error
	prepErr   func(b Batch) error
	prepared  map[uint64][]Conn
	active    []Conn
	accepting bool
	done      bool
	ended     bool
	relay     func(Relay)
	onMove    func(relay func(Relay))
	onPrepare func()
	relayed   func(Relay)
}

func (c *candHost) Warm(state []byte) error { c.warm = bytes.Clone(state); return nil }
func (c *candHost) Ready() error            { return c.readyErr }
func (c *candHost) Accept()                 { c.accepting = true }
func (c *candHost) StopAccept()             { c.accepting = false }
func (c *candHost) Done()                   { c.done = true }
func (c *candHost) EndMove()                { c.ended = true }

func (c *candHost) BeginMove(relay func(Relay)) {
	c.relay = relay
	if c.onMove != nil {
		c.onMove(relay)
	}
}

func (c *candHost) Prepare(b Batch) error {
	if c.onPrepare != nil {
		c.onPrepare()
	}
	if c.prepErr != nil {
		if err := c.prepErr(b); err != nil {
			for _, cn := range b.Conns {
				_ = unix.Close(cn.FD)
			}
			return err
		}
	}
	for i, cn := range b.Conns {
		if len(cn.State) != int(cn.Counters.Written) || len(cn.State) > 0 && cn.State[0] != byte(cn.Counters.Consumed) {
			return fmt.Errorf("connection %d: state of %d bytes, counters %+v", i, len(cn.State), cn.Counters)
		}
	}
	if c.prepared == nil {
		c.prepared = map[uint64][]Conn{}
	}
	c.prepared[b.ID] = append(c.prepared[b.ID], b.Conns...)
	return nil
}

func (c *candHost) Activate(id uint64) {
	c.active = append(c.active, c.prepared[id]...)
	delete(c.prepared, id)
}

func (c *candHost) Drop(id uint64) {
	for _, cn := range c.prepared[id] {
		_ = unix.Close(cn.FD)
	}
	delete(c.prepared, id)
}

func (c *candHost) Relayed(r Relay) {
	if c.relayed != nil {
		c.relayed(r)
	}
}

// pairs opens n socket pairs; the first ends go to the donor, the test speaks through the others.
func pairs(t *testing.T, n int) (near, far []int) {
	t.Helper()
	for range n {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		near, far = append(near, p[0]), append(far, p[1])
	}
	t.Cleanup(func() { _ = closeAll(far) })
	return near, far
}

var testKey = []byte("0123456789abcdef0123456789abcdef")

func armed() ([]byte, int64, int64, bool) { return testKey, 1, 2, true }

// meeting is a donor and a candidate that are about to meet in this process.
type meeting struct {
	serve   ServeConfig
	take    TakeConfig
	donor   *donorHost
	cand    *candHost
	adopted []Socket
}

func newMeeting(t *testing.T) *meeting {
	t.Helper()
	m := &meeting{donor: &donorHost{accepting: true, warm: []byte("state")}, cand: &candHost{}}
	addr := filepath.Join(t.TempDir(), "handover")
	fd, err := Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	log := testr.NewWithOptions(t, testr.Options{Verbosity: 0})
	m.serve = ServeConfig{
		Listener: fd, Key: armed, Donor: m.donor, Clock: time.Now, Log: log, Build: "donor",
		Sockets: func() []Socket { return []Socket{{Key: "handover", FD: fd}} },
	}
	m.take = TakeConfig{
		Address: addr, Key: testKey, From: 1, To: 2, Candidate: m.cand, Clock: time.Now, Log: logr.Discard(), Build: "candidate",
		AdoptSockets: func(s []Socket) error { m.adopted = s; return nil },
	}
	t.Cleanup(func() {
		for _, s := range m.adopted {
			_ = unix.Close(s.FD)
		}
		for _, c := range m.cand.active {
			_ = unix.Close(c.FD)
		}
		_ = closeAll(m.donor.active)
	})
	return m
}

// outcomes is how both sides saw it.
type outcomes struct {
	served, taken     Result
	serveErr, takeErr error
}

// run lets both meet and waits for both.
func (m *meeting) run(t *testing.T) outcomes {
	t.Helper()
	var o outcomes
	var wg sync.WaitGroup
	wg.Go(func() { o.served, o.serveErr = Serve(t.Context(), m.serve) })
	wg.Go(func() { o.taken, o.takeErr = Take(t.Context(), m.take) })
	wg.Wait()
	return o
}

// fdCount is how many descriptors this process has open.
func fdCount(t *testing.T) int {
	t.Helper()
	ents, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(ents)
}

// speak checks that the far ends still reach exactly the near ends that somebody holds.
func speak(t *testing.T, far []int, near []int) {
	t.Helper()
	buf := make([]byte, 8)
	for i, fd := range far {
		if _, err := unix.Write(fd, []byte{byte(i), byte(i >> 8)}); err != nil {
			t.Fatalf("write to connection %d: %v", i, err)
		}
	}
	got := map[int]bool{}
	for _, fd := range near {
		n, err := unix.Read(fd, buf)
		if err != nil || n != 2 {
			t.Fatalf("read from descriptor %d: %d bytes, %v", fd, n, err)
		}
		got[int(buf[0])|int(buf[1])<<8] = true
	}
	if len(got) != len(far) {
		t.Fatalf("%d of %d connections are held", len(got), len(far))
	}
}

func connFDs(cs []Conn) []int {
	var fds []int
	for _, c := range cs {
		fds = append(fds, c.FD)
	}
	return fds
}

var errTold = errors.New("told to fail")
