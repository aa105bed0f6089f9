// Package handshake runs TLS handshakes: crypto/tls does them, each in a goroutine of its own over a connection in memory
// that an event loop feeds, and what is left of one is a record.Session. It also knows certificates: which files they come
// from, when those change, and whom they let in.
package handshake

import (
	"crypto/tls"
	"fmt"

	record "github.com/axlemesh/axle/sidecar/codec/tls"
)

// Result is how a handshake ended.
type Result struct {
	// Session carries on behind the handshake; nil with an Err.
	Session *record.Session
	// Chain is the peer's, leaf first, in DER; empty when it showed none.
	Chain [][]byte
	Err   error
}

// Owner is who a handshake belongs to: it is told what happens, in order, from the handshake's goroutine.
type Owner interface {
	// Send takes bytes for the peer. They are the owner's.
	Send(b []byte)
	// Done is called once, last, however the handshake ended.
	Done(r Result)
}

// Handshake is one handshake. It ends with its peer's last message, its first mistake, or Abort: whoever starts it sets a
// deadline for that.
type Handshake struct {
	wire   *wire
	config *tls.Config
	server bool
	keys   keyLog
	owner  Owner
}

// New makes a handshake that does nothing before Run. config is not changed; it may be shared.
func New(config *tls.Config, server bool, owner Owner) *Handshake {
	h := &Handshake{wire: newWire(owner.Send), server: server, owner: owner}
	// A clone for each handshake costs less than a lock around what all of them would log, and no secret of a connection
	// passes by another one.
	h.config = config.Clone()
	h.config.KeyLogWriter = &h.keys
	return h
}

// Feed takes all of b, bytes of the peer. It returns how many the handshake has not read yet.
func (h *Handshake) Feed(b []byte) (unread int) { return h.wire.feed(b) }

// Waits says that the handshake can do nothing before its peer has said more.
func (h *Handshake) Waits() bool { return h.wire.waits() }

// Rest returns, after Done, the bytes that were fed and belong to the session.
func (h *Handshake) Rest() []byte { return h.wire.rest() }

// Abort ends a handshake that is still going on.
func (h *Handshake) Abort(why error) { h.wire.abort(why) }

// Run does the handshake; it returns when that has ended and the owner knows.
func (h *Handshake) Run() {
	conn := tls.Client(h.wire, h.config)
	if h.server {
		conn = tls.Server(h.wire, h.config)
	}
	if err := conn.Handshake(); err != nil {
		h.owner.Done(Result{Err: fmt.Errorf("TLS handshake: %w", err)})
		return
	}
	h.owner.Done(h.result(conn.ConnectionState()))
}

func (h *Handshake) result(state tls.ConnectionState) Result {
	x := h.keys.secrets
	x.Version, x.Suite, x.Server = state.Version, state.CipherSuite, h.server
	x.ClientRandom, x.ServerRandom = h.wire.randoms(h.server)
	if state.Version == tls.VersionTLS12 {
		x.Read, x.Written = 1, 1 // each side's Finished went under these keys; of TLS 1.3 nothing did
	}
	session, err := record.New(x)
	if err != nil {
		return Result{Err: fmt.Errorf("TLS handshake: %w", err)}
	}
	r := Result{Session: session}
	for _, cert := range state.PeerCertificates {
		r.Chain = append(r.Chain, cert.Raw)
	}
	return r
}
