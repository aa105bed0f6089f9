package proxy

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/sockets"
)

// listener is one address that the engine accepts on. There is one descriptor for all loops: the first loop accepts, and
// gives each connection to the loop with the fewest.
type listener struct {
	key       string
	fd        int
	config    atomic.Pointer[config.Listener]
	accepting *loop.Accepting // nil while not accepting
}

// listen opens the listeners of s that are new or have another address, and returns them. One that waits for its certificate
// is not opened. On an error it undoes that.
func (e *Engine) listen(s *config.Snapshot) (map[string]*listener, error) {
	opened := map[string]*listener{}
	var errs []error
	for i := range s.Listeners {
		cfg := &s.Listeners[i]
		old := e.listeners[cfg.Name]
		if cfg.TLS.Shut() || old != nil && old.config.Load().Address == cfg.Address {
			continue
		}
		if old != nil {
			e.pause(old)
		}
		key := sockets.ListenerPrefix + cfg.Name
		fd, err := e.options.Sockets.Listen(key, "tcp", cfg.Address.String())
		if err != nil {
			errs = append(errs, fmt.Errorf("listener %q: %w", cfg.Name, err))
			continue
		}
		l := &listener{key: key, fd: fd}
		l.config.Store(cfg)
		opened[cfg.Name] = l
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, e.unlisten(opened))
	}
	return opened, nil
}

// unlisten closes what listen has opened and listens again where it did before. A listener whose old address is not to be
// had any more is forgotten, so that the next snapshot opens it.
func (e *Engine) unlisten(opened map[string]*listener) error {
	var errs []error
	for name, l := range opened {
		if e.listeners[name] == nil {
			errs = append(errs, e.options.Sockets.Close(l.key))
		}
	}
	for name, l := range e.listeners {
		fd, err := e.options.Sockets.Listen(l.key, "tcp", l.config.Load().Address.String())
		if err != nil {
			e.pause(l)
			delete(e.listeners, name)
			errs = append(errs, err, e.options.Sockets.Close(l.key))
			continue
		}
		l.fd = fd // another one when listen had replaced it, which has paused it then
		if e.serving {
			e.accept(l)
		}
	}
	return errors.Join(errs...)
}

// relisten puts the opened listeners in place and closes those that s no longer has.
func (e *Engine) relisten(s *config.Snapshot, opened map[string]*listener) error {
	var errs []error
	named := map[string]bool{}
	for i := range s.Listeners {
		cfg := &s.Listeners[i]
		named[cfg.Name] = true
		if l := opened[cfg.Name]; l != nil {
			e.listeners[cfg.Name] = l
		}
		l := e.listeners[cfg.Name]
		if cfg.TLS.Shut() { // nobody is turned away where a socket is open already
			if l != nil {
				e.pause(l)
			}
			continue
		}
		l.config.Store(cfg)
		if e.serving {
			e.accept(l)
		}
	}
	for name, l := range e.listeners {
		if !named[name] {
			e.pause(l)
			delete(e.listeners, name)
			errs = append(errs, e.options.Sockets.Close(l.key))
		}
	}
	return errors.Join(errs...)
}

// accept starts to accept on l, if it does not yet.
func (e *Engine) accept(l *listener) {
	if l.accepting != nil {
		return
	}
	w := e.workers[0]
	w.loop.Call(func() {
		accepting, err := w.loop.Accept(l.fd, func(fd int) { e.assign(fd, l.config.Load()) }, func(err error) {
			e.log.Error(err, "cannot accept a connection", "listener", l.config.Load().Name)
		})
		if err != nil {
			e.log.Error(err, "cannot accept connections", "listener", l.config.Load().Name)
			return
		}
		l.accepting = accepting
	})
}

// pause stops to accept on l; connections queue in the kernel.
func (e *Engine) pause(l *listener) {
	if l.accepting == nil {
		return
	}
	e.workers[0].loop.Call(l.accepting.Stop)
	l.accepting = nil
}

// assign gives a connection to the loop with the fewest. It runs on the first loop.
func (e *Engine) assign(fd int, from *config.Listener) {
	if limit := e.options.MaxConnections; limit > 0 && e.open[0].Load()+e.open[1].Load() >= limit {
		e.workers[0].count.Refused++
		_ = unix.Close(fd)
		return
	}
	if e.refusing.Load() {
		e.workers[0].count.Unwelcome++
		_ = unix.Close(fd)
		return
	}
	w := e.workers[0]
	for _, other := range e.workers[1:] {
		if other.load.Load() < w.load.Load() {
			w = other
		}
	}
	w.load.Add(1)
	e.open[from.Direction].Add(1)
	if w == e.workers[0] {
		w.accepted(fd, from)
		return
	}
	if !w.loop.Post(func() { w.accepted(fd, from) }) {
		_ = unix.Close(fd)
	}
}
