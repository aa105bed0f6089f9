package handshake

import (
	"bytes"
	"net"
	"os"
	"sync"
	"time"

	record "github.com/axlemesh/axle/sidecar/codec/tls"
)

// wire is a connection in memory. It lets crypto/tls read one record at a time and not a byte further: what it has not
// asked for belongs to whoever comes behind the handshake.
type wire struct {
	send func([]byte)

	mu         sync.Mutex
	changed    sync.Cond
	in         []byte // from the peer, not read yet
	left       int    // of the record that is being read
	err        error  // why nothing more comes
	idle       bool   // somebody waits for the peer
	read, sent hello
}

func newWire(send func([]byte)) *wire {
	w := &wire{send: send}
	w.changed.L = &w.mu
	return w
}

func (w *wire) feed(b []byte) (unread int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.in = append(w.in, b...)
	w.changed.Signal()
	return len(w.in)
}

func (w *wire) abort(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = why
	w.changed.Signal()
}

// randoms returns those of both sides' first messages.
func (w *wire) randoms(server bool) (clientRandom, serverRandom []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if server {
		return w.read.random(), w.sent.random()
	}
	return w.sent.random(), w.read.random()
}

func (w *wire) waits() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.idle
}

func (w *wire) rest() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.in
}

// Read waits for the peer. It returns bytes of one record only. What has come before an abort is read first: it may be an alert
// that says why the peer went away.
func (w *wire) Read(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.in) == 0 || w.left == 0 && len(w.in) < record.HeaderLen {
		if w.err != nil {
			return 0, w.err
		}
		w.idle = true
		w.changed.Wait()
		w.idle = false
	}
	if w.left == 0 {
		w.left = record.HeaderLen + int(w.in[3])<<8 + int(w.in[4])
	}
	n := copy(b, w.in[:min(w.left, len(w.in))])
	w.left -= n
	w.read.see(w.in[:n])
	if w.in = w.in[n:]; len(w.in) == 0 {
		w.in = nil
	}
	return n, nil
}

// Write gives b to the owner.
func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	err := w.err
	w.sent.see(b)
	w.mu.Unlock()
	if err != nil {
		return 0, err
	}
	w.send(bytes.Clone(b))
	return len(b), nil
}

// Close ends reading, as closing a connection would.
func (w *wire) Close() error {
	w.abort(net.ErrClosed)
	return nil
}

// LocalAddr and RemoteAddr say nothing: the loop knows.
func (w *wire) LocalAddr() net.Addr { return nowhere{} }

// RemoteAddr is as LocalAddr.
func (w *wire) RemoteAddr() net.Addr { return nowhere{} }

// SetDeadline and its likes are for those who have a clock: the owner, who aborts.
func (w *wire) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline is as SetDeadline.
func (w *wire) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline is as SetDeadline.
func (w *wire) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

type nowhere struct{}

func (nowhere) Network() string { return "memory" }
func (nowhere) String() string  { return "memory" }

// randomEnd is where the random of a ClientHello or ServerHello ends: behind the message's header of 4 bytes and the
// version (RFC 8446 section 4.1.2; the first message of each side comes in plain text).
const (
	randomStart = 4 + 2
	randomEnd   = randomStart + 32
)

// hello picks the random out of the records that one side sends first, however they cut the message.
type hello struct {
	header  []byte // of the record that is passing by
	left    int    // of its body
	message []byte // as far as randomEnd
}

func (h *hello) random() []byte {
	if len(h.message) < randomEnd {
		return nil
	}
	return h.message[randomStart:randomEnd]
}

func (h *hello) see(b []byte) {
	for len(b) > 0 && len(h.message) < randomEnd {
		if h.left == 0 {
			n := min(record.HeaderLen-len(h.header), len(b))
			h.header = append(h.header, b[:n]...)
			if b = b[n:]; len(h.header) < record.HeaderLen {
				return
			}
			h.left = int(h.header[3])<<8 | int(h.header[4])
			h.header = h.header[:0]
			continue
		}
		n := min(h.left, len(b))
		h.message = append(h.message, b[:min(n, randomEnd-len(h.message))]...)
		h.left -= n
		b = b[n:]
	}
}
