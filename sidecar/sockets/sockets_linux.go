// Package sockets holds the listening descriptors of one process by key. A key names the same socket in every
// generation, so that a successor, or a restarted child, listens where its predecessor did without a moment's gap.
//
// Descriptors are raw: non-blocking, close-on-exec, and never wrapped in an os.File whose Fd method would clear
// O_NONBLOCK on the description that other processes share.
package sockets

import (
	"errors"
	"fmt"
	"sort"
	"sync"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/handover"
)

// Keys of the sockets that are no data-plane listeners.
const (
	Admin    = "admin"
	MeshAPI  = "meshapi"
	Handover = "handover"
)

// Lock is the key of the slots' lock: no socket, but it moves and is kept with them.
const Lock = "lock"

// ListenerPrefix and the name of a config.Listener make its key.
const ListenerPrefix = "listener/"

// Store keeps duplicates of the descriptors outside this process, for its restart. Add replaces what had the key.
// Both return at once; an error means that a restart would not find the socket, nothing else.
type Store interface {
	Add(key string, fd int) error
	Remove(key string) error
}

// Set is the process-wide set of listening descriptors. It owns them: callers borrow a descriptor until its Close. The
// zero value works and stores nothing elsewhere. It is safe for concurrent use.
//
// Whoever waits on a descriptor removes it from its epoll before Close, or before a Listen at another address: other
// processes may hold the same description, and then closing alone does not remove it.
type Set struct {
	// Store is told of every change; nil for none.
	Store Store
	// Log hears of a Store that fails; its zero value is silent.
	Log logr.Logger

	mu   sync.Mutex
	open map[string]int
}

// Listen returns the descriptor of key, listening on addr. A descriptor that was adopted under key is returned as it is
// when it listens there already; otherwise it is closed once the new one is bound. When binding fails, the old one stays
// and the error says where it listens.
//
// The networks are tcp (addr is IP:port; port 0 lets the kernel choose, and matches any), and unixpacket or unix (addr
// is a path, or an abstract name that begins with @). A path that nobody listens on is unlinked first.
func (s *Set) Listen(key, network, addr string) (int, error) {
	want, err := parse(network, addr)
	if err != nil {
		return -1, fmt.Errorf("listen %s on %s %q: %w", key, network, addr, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, held := s.open[key]
	if held && want.servedBy(old) {
		return old, nil
	}
	fd, err := bind(want)
	if errors.Is(err, unix.EADDRINUSE) && held {
		// The same port on another address: only one of the two can listen.
		_ = unix.Close(old)
		delete(s.open, key)
		held = false
		fd, err = bind(want)
	}
	if err != nil {
		if held {
			err = fmt.Errorf("%w (still listening on %s)", err, localName(old))
		}
		return -1, fmt.Errorf("listen %s on %s %q: %w", key, network, addr, err)
	}
	if held {
		_ = unix.Close(old)
	}
	s.put(key, fd)
	return fd, nil
}

// Adopt takes over a descriptor that another process opened. It must be listening, unless it is the Lock. The set owns fd from here on, and
// closes it on an error; a descriptor that had the key before is closed.
func (s *Set) Adopt(key string, fd int) error {
	if key == Lock {
		unix.CloseOnExec(fd)
	} else if err := prepare(fd); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("adopt %s: %w", key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.open[key]; ok && old != fd {
		_ = unix.Close(old)
	}
	s.put(key, fd)
	return nil
}

// put records fd and tells the store; mu is held.
func (s *Set) put(key string, fd int) {
	if s.open == nil {
		s.open = make(map[string]int)
	}
	s.open[key] = fd
	if s.Store == nil {
		return
	}
	if err := s.Store.Add(key, fd); err != nil {
		s.Log.Error(err, "The supervisor did not take a listener; a restart would bind it anew", "key", key)
	}
}

// Close closes the descriptor of key, here and in the store. It never unlinks a path: a successor may own it.
func (s *Set) Close(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fd, ok := s.open[key]
	if !ok {
		return nil
	}
	delete(s.open, key)
	err := unix.Close(fd)
	if s.Store != nil {
		err = errors.Join(err, s.Store.Remove(key))
	}
	if err != nil {
		return fmt.Errorf("close %s: %w", key, err)
	}
	return nil
}

// Release closes every descriptor in this process and leaves the store alone: the process ends, and whoever took the
// sockets over goes on listening.
func (s *Set) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fd := range s.open {
		_ = unix.Close(fd)
	}
	s.open = nil
}

// All returns the sockets sorted by key. The descriptors stay the set's; sending one over a Unix socket duplicates it.
func (s *Set) All() []handover.Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]handover.Socket, 0, len(s.open))
	for key, fd := range s.open {
		all = append(all, handover.Socket{Key: key, FD: fd})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Key < all[j].Key })
	return all
}

// FD returns the descriptor of key, borrowed, and whether there is one.
func (s *Set) FD(key string) (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fd, ok := s.open[key]
	return fd, ok
}

// Dup returns a duplicate of the descriptor of key, which the caller owns.
func (s *Set) Dup(key string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fd, ok := s.open[key]
	if !ok {
		return -1, fmt.Errorf("duplicate %s: no such listener", key)
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("duplicate %s: %w", key, err)
	}
	return dup, nil
}

// Addr returns where key listens ("127.0.0.1:80", "@axle/handover"), or "" when it does not.
func (s *Set) Addr(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	fd, ok := s.open[key]
	if !ok {
		return ""
	}
	return localName(fd)
}
