package slot

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/supervisor"
)

// Bounds of what another slot is believed.
const (
	maxSpares = 1024
	maxKey    = 255
)

// settledLook is how often it is looked whether this slot has settled, while somebody waits for it.
const settledLook = 20 * time.Millisecond

// spares are duplicates of the listening sockets of the slot that serves, for the day on which this one has to.
type spares struct {
	log logr.Logger

	mu       sync.Mutex
	fds      map[string]int
	latest   uint64 // the connection that is believed
	complete bool   // it has said everything since this slot served last
	closed   chan struct{}
}

func newSpares(log logr.Logger) *spares {
	return &spares{log: log, fds: map[string]int{}}
}

// begin makes a new connection the one that is believed.
func (s *spares) begin() (id uint64, end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest++
	done := make(chan struct{})
	s.closed = done
	return s.latest, func() { close(done) }
}

// put takes fd over.
func (s *spares) put(id uint64, key string, fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, has := s.fds[key]
	if id != s.latest || len(key) > maxKey || !listening(key) || !has && len(s.fds) >= maxSpares {
		_ = unix.Close(fd)
		return
	}
	if has {
		_ = unix.Close(old)
	}
	s.fds[key] = fd
}

func (s *spares) remove(id uint64, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fd, ok := s.fds[key]; ok && id == s.latest {
		_ = unix.Close(fd)
		delete(s.fds, key)
	}
}

// only drops what is not in keys: those are all that the other slot has.
func (s *spares) only(id uint64, keys map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != s.latest {
		return
	}
	s.complete = true
	for key, fd := range s.fds {
		if !keys[key] {
			_ = unix.Close(fd)
			delete(s.fds, key)
		}
	}
}

// take gives everything to the caller. What the other slot said before it died is waited for.
func (s *spares) take(wait time.Duration) map[string]int {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed != nil {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-closed:
		case <-t.C:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.fds
	s.fds, s.complete = map[string]int{}, false
	return all
}

// drop closes everything.
func (s *spares) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	supervisor.Drop(s.fds)
	s.fds, s.complete = map[string]int{}, false
}

// give starts with the sockets that this slot served on itself, unless its successor has told already which it has.
func (s *spares) give(kept map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.complete {
		supervisor.Drop(kept)
		return
	}
	for key, fd := range kept {
		if old, has := s.fds[key]; has {
			_ = unix.Close(old)
		}
		s.fds[key] = fd
	}
}

// desk is where a slot's supervisor listens: to the other slot, and to whoever asks whether it has settled.
type desk struct {
	ln      *net.UnixListener
	spares  *spares
	settled func() bool
	log     logr.Logger
}

// newDesk listens at path. A socket that is there already was left by an earlier process of this slot.
func newDesk(path string, s *spares, settled func() bool, log logr.Logger) (*desk, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen for the other slot: %w", err)
	}
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: path})
	if err != nil {
		return nil, fmt.Errorf("listen for the other slot: %w", err)
	}
	return &desk{ln: ln, spares: s, settled: settled, log: log}, nil
}

// run receives callers until the desk is closed.
func (d *desk) run() {
	for {
		conn, err := d.ln.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			d.log.Error(err, "The other slot cannot be received")
			t := time.NewTimer(shareRetry)
			<-t.C
			continue
		}
		go d.receive(conn) // ends with conn
	}
}

func (d *desk) receive(conn *net.UnixConn) {
	defer func() { _ = conn.Close() }()
	if err := sameUser(conn); err != nil {
		d.log.Info("Turned a caller away", "reason", err.Error())
		return
	}
	m, err := supervisor.Receive(conn)
	if err != nil {
		return
	}
	if m.Kind == kindAsk {
		if m.FD >= 0 {
			_ = unix.Close(m.FD)
		}
		d.answer(conn)
		return
	}
	id, end := d.spares.begin()
	defer end()
	keys := map[string]bool{}
	for ; err == nil; m, err = supervisor.Receive(conn) {
		key := string(m.Body)
		switch {
		case m.Kind == supervisor.KindAdd && m.FD >= 0:
			keys[key] = true
			d.spares.put(id, key, m.FD)
			continue
		case m.Kind == supervisor.KindRemove:
			d.spares.remove(id, key)
		case m.Kind == supervisor.KindEnd:
			d.spares.only(id, keys)
		}
		if m.FD >= 0 {
			_ = unix.Close(m.FD)
		}
	}
}

// answer tells one caller when this slot has settled.
func (d *desk) answer(conn *net.UnixConn) {
	t := time.NewTicker(settledLook)
	defer t.Stop()
	for range maxReady / settledLook {
		if d.settled() {
			_, _ = conn.Write([]byte{byte(kindSettled)}) // whoever asked may be gone
			return
		}
		<-t.C
	}
}
