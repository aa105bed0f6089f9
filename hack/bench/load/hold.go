package load

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/hack/bench/epoll"
)

// PerSource is how many connections one local address opens to one destination: well below the usual 28,000 ports.
const PerSource = 8000

// heldSize is the buffer of a connection that is only held.
const heldSize = 4 << 10

// Held are connections that have had one request each and say nothing more.
type Held struct{ conns []*epoll.Conn }

// Hold opens n connections, one after the other, with one request on each. More than one local address is used where ports
// would run short.
func Hold(p Protocol, addr string, size, n int, certs string) (*Held, error) {
	d, err := newDialer(p, size, certs)
	if err != nil {
		return nil, err
	}
	d.input = heldSize
	poller, err := epoll.New()
	if err != nil {
		return nil, err
	}
	h := &Held{}
	for i := range n {
		c, talk, err := d.dial(source(i), addr)
		if err != nil {
			return h, fmt.Errorf("connection %d of %d: %w", i+1, n, err)
		}
		h.conns = append(h.conns, c)
		if err := epoll.Prepare(c.FD); err != nil {
			return h, err
		}
		if err := one(poller, c, talk, uint64(i+1)); err != nil {
			return h, fmt.Errorf("connection %d of %d to %s: %w", i+1, n, addr, err)
		}
	}
	return h, nil
}

// source is the local address of connection i.
func source(i int) string { return fmt.Sprintf("127.0.0.%d", 2+i/PerSource) }

// turn is how long one wait for an answer lasts, and turnsMax how many there are.
const (
	turn     = 10 * time.Millisecond
	turnsMax = 500
)

// one sends a request and waits for its answer.
func one(p *epoll.Poller, c *epoll.Conn, talk client, token uint64) error {
	if err := p.Add(c.FD); err != nil {
		return fmt.Errorf("watch it: %w", err)
	}
	defer p.Remove(c.FD)
	for sent, turns := false, 0; turns < turnsMax; turns++ {
		if !sent && talk.Room() {
			c.Out, sent = talk.Request(c.Out, 0, token), true
		}
		if !c.Flush(p) {
			return errors.New("it was closed")
		}
		if len(p.Wait(turn)) == 0 {
			continue
		}
		if !c.Fill() {
			return errors.New("it was closed")
		}
		for {
			a, out, err := talk.Answer(c.In[:c.Have], c.Out)
			if err != nil {
				return err
			}
			c.Out = out
			if a.N == 0 {
				break
			}
			c.Used(a.N)
			if a.Done && a.Token != token {
				return fmt.Errorf("token %d: %w", a.Token, errWrong)
			}
			if a.Done {
				return nil
			}
		}
	}
	return fmt.Errorf("no answer in %v", turnsMax*turn)
}

// Alive counts the connections that nobody has closed.
func (h *Held) Alive() int {
	alive, b := 0, make([]byte, 1)
	for _, c := range h.conns {
		_, _, err := unix.Recvfrom(c.FD, b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			alive++
		}
	}
	return alive
}

// Close ends all.
func (h *Held) Close() {
	for _, c := range h.conns {
		_ = unix.Close(c.FD)
	}
}
