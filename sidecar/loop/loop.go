// Package loop is the event loop of the data plane: one epoll, one timer wheel, and connections as plain data that only
// this loop touches. It knows no protocol; what bytes mean is up to a Handler.
//
// A loop is one goroutine, not locked to a thread. While there is work it polls epoll without blocking; when there is
// none it parks with its epoll descriptor inside the Go runtime's own poller, so that nothing else is starved and an idle
// loop costs nothing. A thread of the runtime that is idle waits on that poller all the time, and would be woken by each
// event of a loop that works: a busy loop is therefore hidden from it, behind a second epoll, the bell.
package loop

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Clock returns the time since some fixed start. It never goes back.
type Clock func() time.Duration

// maxEvents is how many ready descriptors one turn works off before it flushes what they wrote.
const maxEvents = 256

// readBuffer is the space for one read; every connection of a loop shares it.
const readBuffer = 128 << 10

// busyTurns without a wait make a loop busy: it does not let the bell ring until it has nothing to do. It has the bell on
// at low load, where turning it off and on would cost a system call for each wait.
const busyTurns = 16

// Loop owns its connections. All methods but Post, Call and Stop are for the loop's own goroutine.
type Loop struct {
	clock  Clock
	now    time.Duration
	budget *Budget

	poller  poller
	park    syscall.RawConn
	file    *os.File
	events  [maxEvents]unix.EpollEvent
	ready   int
	busy    int // turns since it had to wait
	pollErr error
	poll    func(uintptr) bool

	mail  mailbox
	wheel Wheel
	table table
	dirty []*Conn
	pool  Pool
	rbuf  []byte
	last  [256]byte // for the last record of a connection

	reads, writes uint64
	slow          uint64
	idle, parked  atomic.Int64 // how long it had nothing to do, and since when it has nothing; 0 while it works

	stopped bool
	done    chan struct{}
}

// New makes a loop that does not run yet. budget may be nil.
func New(clock Clock, budget *Budget) (*Loop, error) {
	l := &Loop{clock: clock, budget: budget, rbuf: make([]byte, readBuffer), done: make(chan struct{})}
	if err := l.poller.open(); err != nil {
		return nil, fmt.Errorf("open event loop: %w", err)
	}
	l.file = os.NewFile(uintptr(l.poller.bell), "loop") // non-blocking, so the runtime's poller takes it
	park, err := l.file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("open event loop: %w", err)
	}
	l.park = park
	l.poll = l.pollOnce
	l.now = clock()
	l.wheel.start(l.now)
	return l, nil
}

// Run works until Stop. Connections that are still open then are left as they are; CloseAll closes them.
func (l *Loop) Run() error {
	defer close(l.done)
	defer func() { l.mail.close(); _ = l.file.Close(); l.poller.close() }()
	for !l.stopped {
		if err := l.wait(); err != nil {
			return err
		}
		l.turn()
	}
	return nil
}

// wait fills events. Read polls first and parks only when there is nothing to do at all.
func (l *Loop) wait() error {
	l.poller.arm(l.wheel.Next(), l.now)
	if err := l.park.Read(l.poll); err != nil {
		return fmt.Errorf("wait for events: %w", err)
	}
	if l.busy++; l.busy >= busyTurns && l.poller.rings && l.pollErr == nil {
		return l.poller.ring(false)
	}
	return l.pollErr
}

// pollOnce returns false for the runtime to park the loop until the bell rings.
func (l *Loop) pollOnce(uintptr) bool {
	l.ready, l.pollErr = l.poller.wait(l.events[:])
	if l.ready == 0 && l.pollErr == nil && !l.poller.rings {
		l.ready, l.pollErr = l.poller.listen(l.events[:])
	}
	if l.ready != 0 || l.pollErr != nil {
		return true
	}
	l.busy = 0
	if l.parked.Load() == 0 {
		l.parked.Store(int64(l.clock()))
	}
	return false
}

// Idle is how long the loop has had nothing to do until now, from any goroutine.
func (l *Loop) Idle(now time.Duration) time.Duration {
	since, idle := time.Duration(l.parked.Load()), time.Duration(l.idle.Load())
	if since > 0 && now > since {
		idle += now - since
	}
	return idle
}

// turn works off one batch: events, mail, timers, and only then writes.
func (l *Loop) turn() {
	l.now = l.clock()
	if since := l.parked.Load(); since > 0 {
		l.idle.Store(l.idle.Load() + int64(l.now) - since)
		l.parked.Store(0)
	}
	for i := range l.events[:l.ready] {
		l.dispatch(&l.events[i])
	}
	l.ready = 0
	l.mail.deliver()
	l.wheel.Advance(l.now)
	l.flush()
}

func (l *Loop) dispatch(e *unix.EpollEvent) {
	switch e.Fd {
	case tokenWake:
		l.poller.drainWake()
		return
	case tokenTimer:
		l.poller.drainTimer()
		return
	}
	c := l.table.find(e.Fd, e.Pad)
	if c == nil {
		return // closed earlier in this batch
	}
	if c.accept != nil {
		c.accept()
		return
	}
	c.handle(e.Events)
}

// flush writes everything that this turn queued. Handlers may queue more meanwhile.
func (l *Loop) flush() {
	for i := 0; i < len(l.dirty); i++ {
		c := l.dirty[i]
		c.dirty = false
		if !c.closed && !c.frozen {
			c.flush()
		}
	}
	clear(l.dirty)
	l.dirty = l.dirty[:0]
}

// Now is the time of this turn.
func (l *Loop) Now() time.Duration { return l.now }

// Start arms t to expire after d, at the wheel's resolution. An armed timer is moved.
func (l *Loop) Start(t *Timer, d time.Duration) { l.wheel.Start(t, l.now+d) }

// Cancel disarms t; it may be idle already.
func (l *Loop) Cancel(t *Timer) { l.wheel.Cancel(t) }

// Pool lends buffers to this loop's handlers.
func (l *Loop) Pool() *Pool { return &l.pool }

// Calls is the number of read and write system calls so far.
func (l *Loop) Calls() (reads, writes uint64) { return l.reads, l.writes }

// Slow is the number of connections so far that were to be closed, and whose peers did not take the last bytes.
func (l *Loop) Slow() uint64 { return l.slow }

// Each calls fn for every open connection. fn may close the connection it is given, and no other.
func (l *Loop) Each(fn func(*Conn)) { l.table.each(fn) }

// Post runs fn on the loop, soon, from any goroutine. It returns false when the loop has ended.
func (l *Loop) Post(fn func()) bool {
	return l.mail.put(fn, l.poller.wake)
}

// Call runs fn on the loop and waits for it, from any other goroutine. It returns false when the loop has ended.
func (l *Loop) Call(fn func()) bool {
	ran := make(chan struct{})
	if !l.Post(func() { fn(); close(ran) }) {
		return false
	}
	select {
	case <-ran:
		return true
	case <-l.done:
	}
	select {
	case <-ran: // in the last turn
		return true
	default:
		return false
	}
}

// Stop ends Run after the current turn, from any goroutine.
func (l *Loop) Stop() { l.Post(func() { l.stopped = true }) }

// Done is closed when Run has returned.
func (l *Loop) Done() <-chan struct{} { return l.done }
