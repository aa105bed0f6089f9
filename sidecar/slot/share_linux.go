package slot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/backoff"
	"github.com/axlemesh/axle/sidecar/sockets"
	"github.com/axlemesh/axle/sidecar/supervisor"
)

const (
	// shareRetry is the wait before the other slot is called again.
	shareRetry = 100 * time.Millisecond
	// sharePatience is how long it may take to read.
	sharePatience = time.Second
)

// Kinds of messages that only slots know, besides supervisor.KindAdd, KindRemove and KindEnd.
const (
	kindAsk     supervisor.Kind = 'Q' // are you settled?
	kindSettled supervisor.Kind = 'S'
)

// listening says whether key names a listening socket, which the other slot is to have a duplicate of.
func listening(key string) bool {
	return key != LockKey && !strings.HasPrefix(key, supervisor.StatePrefix)
}

// sharer gives the other slot duplicates of the listening sockets of the one that serves: all of them when the other one comes,
// and every change. It is a supervisor.Observer's worth of facts with a connection behind it.
type sharer struct {
	path string
	now  func() time.Time
	log  logr.Logger

	mu   sync.Mutex
	fds  map[string]shared // duplicates of its own
	seq  uint64
	wake chan struct{}
}

type shared struct {
	fd  int
	seq uint64 // grows with each change
}

func newSharer(path string, now func() time.Time, log logr.Logger) *sharer {
	return &sharer{path: path, now: now, log: log, fds: map[string]shared{}, wake: make(chan struct{}, 1)}
}

func (s *sharer) add(key string, fd int) {
	if !listening(key) {
		return
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		s.log.Error(err, "The other slot will not have this listener", "key", key)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.fds[key]; ok {
		_ = unix.Close(old.fd)
	}
	s.seq++
	s.fds[key] = shared{fd: dup, seq: s.seq}
	s.stir()
}

func (s *sharer) remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.fds[key]; ok {
		_ = unix.Close(old.fd)
		delete(s.fds, key)
		s.stir()
	}
}

// clear removes everything.
func (s *sharer) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.fds {
		_ = unix.Close(e.fd)
	}
	clear(s.fds)
	s.stir()
}

// listeners counts the data plane's.
func (s *sharer) listeners() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for key := range s.fds {
		if strings.HasPrefix(key, sockets.ListenerPrefix) {
			n++
		}
	}
	return n
}

func (s *sharer) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run keeps the other slot informed until ctx ends. A last change is sent then, if the other one listens.
func (s *sharer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.call(ctx); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED) {
			s.log.V(1).Info("The other slot does not have the listeners", "reason", err.Error())
		}
		_ = backoff.Wait(ctx, shareRetry) // its error is ctx's
	}
}

// call speaks with the other slot until one of the two ends.
func (s *sharer) call(ctx context.Context) error {
	conn, err := dial(s.path)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	gone := make(chan struct{})
	go func() { // ends with conn
		defer close(gone)
		for {
			if m, err := supervisor.Receive(conn); err != nil {
				return
			} else if m.FD >= 0 {
				_ = unix.Close(m.FD)
			}
		}
	}()
	sent := map[string]uint64{}
	if err := s.tell(conn, sent); err != nil {
		return err
	}
	if err := supervisor.Send(conn, s.now().Add(sharePatience), supervisor.Message{Kind: supervisor.KindEnd, FD: -1}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return s.tell(conn, sent)
		case <-gone:
			return errors.New("it went away")
		case <-s.wake:
			if err := s.tell(conn, sent); err != nil {
				return err
			}
		}
	}
}

// tell sends what is not in sent yet.
func (s *sharer) tell(conn *net.UnixConn, sent map[string]uint64) error {
	s.mu.Lock()
	var todo []supervisor.Message
	for key, e := range s.fds {
		if sent[key] == e.seq {
			continue
		}
		dup, err := unix.FcntlInt(uintptr(e.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			todo, sent[key] = append(todo, supervisor.Message{Kind: supervisor.KindAdd, Body: []byte(key), FD: dup}), e.seq
		}
	}
	for key := range sent {
		if _, ok := s.fds[key]; !ok {
			todo = append(todo, supervisor.Message{Kind: supervisor.KindRemove, Body: []byte(key), FD: -1})
			delete(sent, key)
		}
	}
	s.mu.Unlock()
	var failed error
	for _, m := range todo {
		if failed == nil {
			failed = supervisor.Send(conn, s.now().Add(sharePatience), m)
		}
		if m.FD >= 0 {
			_ = unix.Close(m.FD)
		}
	}
	return failed
}

// dial calls the supervisor of a slot, and makes sure that it runs as this user.
func dial(path string) (*net.UnixConn, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Net: "unixpacket", Name: path})
	if err != nil {
		return nil, err
	}
	if err := sameUser(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func sameUser(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("the other end runs as user %d, this process as %d", cred.Uid, os.Geteuid())
	}
	return nil
}
