package handover

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	// greetTime is how long a caller may take to prove itself.
	greetTime = 3 * time.Second
	// greetings is how many callers may be proving themselves at once. Anyone in the pod can call.
	greetings = 8
	// acceptPause is how long the desk rests after a failed accept (too many open files).
	acceptPause = 50 * time.Millisecond
)

// desk receives callers on the serving side. The first one that proves itself is served; the others are told that it is
// busy, at any time until the desk closes.
type desk struct {
	cfg  ServeConfig
	ln   *listener
	wg   sync.WaitGroup
	got  chan caller // the one that is served
	fail chan error

	mu     sync.Mutex
	turned string // why the last caller was turned away: it calls again many times a second
	taken  bool
	closed bool
	open   map[*conn]bool // callers that are proving themselves
}

func newDesk(cfg ServeConfig, ln *listener) *desk {
	d := &desk{cfg: cfg, ln: ln, got: make(chan caller, 1), fail: make(chan error, 1), open: map[*conn]bool{}}
	d.wg.Add(1)
	go d.receive()
	return d
}

// caller is a candidate that has proved itself, and the generations for which it did.
type caller struct {
	c        *conn
	from, to int64
}

// wait returns the caller to serve.
func (d *desk) wait(ctx context.Context) (caller, error) {
	select {
	case c := <-d.got:
		return c, nil
	case err := <-d.fail:
		return caller{}, err
	case <-ctx.Done():
		return caller{}, fmt.Errorf("wait for a candidate: %w", context.Cause(ctx))
	}
}

// close sends everybody away and ends every goroutine of the desk.
func (d *desk) close() {
	d.mu.Lock()
	d.closed = true
	for c := range d.open {
		_ = c.Close() // its goroutine sees the error
	}
	d.mu.Unlock()
	_ = d.ln.Close() // a duplicate; nothing is lost with it
	d.wg.Wait()
	select {
	case got := <-d.got: // came just when nobody waited any more
		_ = got.c.Close()
	default:
	}
}

func (d *desk) receive() {
	defer d.wg.Done()
	failed := 0
	for {
		c, err := d.ln.accept()
		if err != nil && d.over() {
			return
		}
		if err != nil {
			if failed++; failed > 100 {
				d.fail <- err
				return
			}
			d.cfg.Log.Error(err, "cannot accept a candidate")
			t := time.NewTimer(acceptPause)
			<-t.C
			continue
		}
		failed = 0
		if !d.admit(c) {
			_ = c.say(Message{Kind: KindBusy}) // best effort: it may be gone
			_ = c.Close()
			continue
		}
		d.wg.Add(1)
		go d.greet(c)
	}
}

// over reports whether the desk has been closed.
func (d *desk) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// admit notes a caller, unless there is nothing to be had here.
func (d *desk) admit(c *conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.taken || d.closed || len(d.open) >= greetings {
		return false
	}
	d.open[c] = true
	return true
}

// greet lets a caller prove itself.
func (d *desk) greet(c *conn) {
	defer d.wg.Done()
	slow := time.AfterFunc(greetTime, func() { _ = c.Close() })
	got, err := d.check(c)
	slow.Stop()
	d.mu.Lock()
	delete(d.open, c)
	won := err == nil && !d.taken && !d.closed
	d.taken = d.taken || won
	again := err != nil && d.turned == err.Error()
	if err != nil {
		d.turned = err.Error()
	}
	d.mu.Unlock()
	switch {
	case err != nil:
		if !again {
			d.cfg.Log.Info("turned a caller of the handover socket away", "reason", err.Error())
		}
		_ = c.Close()
	case !won:
		_ = c.say(Message{Kind: KindBusy})
		_ = c.Close()
	default:
		d.got <- got
	}
}

func (d *desk) check(c *conn) (caller, error) {
	if err := sameUser(c); err != nil {
		return caller{}, err
	}
	return checkCandidate(c, d.cfg.Key)
}

// sameUser refuses a peer that runs as somebody else.
func sameUser(c *conn) error {
	uid, err := c.peerUID()
	if err != nil {
		return err
	}
	if uid != os.Geteuid() {
		return fmt.Errorf("%w: it runs as user %d, this process as %d", ErrKey, uid, os.Geteuid())
	}
	return nil
}

// handOver runs the handover with a caller that has proved itself.
func (d *desk) handOver(ctx context.Context, got caller) Result {
	if err := got.c.say(Message{Kind: KindProof}); err != nil {
		_ = got.c.Close()
		return Result{From: got.from, To: got.to, Step: PhaseHello.String(), Reason: "the candidate went away: " + err.Error()}
	}
	return donate(ctx, d.cfg, got.c, got.from, got.to)
}
