package proxy

import (
	record "github.com/axlemesh/axle/sidecar/codec/tls"
	"github.com/axlemesh/axle/sidecar/loop"
)

// secured is a connection's TLS behind the handshake, as its loop.Cipher.
type secured struct {
	*record.Session
	chain [][]byte // the peer's certificates, leaf first
	at    place
}

// maxChain bounds a chain that comes in a handover.
const maxChain = 32

// secured writes down what a connection with TLS needs besides. It contains keys: it goes to the next process only.
func (e *encoder) secured(i *loop.Image) {
	c, ok := i.Cipher.(*secured)
	if !ok {
		return
	}
	e.bytes(c.AppendBinary(nil))
	e.bytes(i.Raw)
	e.bool(i.Ended)
	e.uint(uint64(len(c.chain)))
	for _, cert := range c.chain {
		e.bytes(cert)
	}
}

func (d *decoder) secured(i *loop.Image) {
	session, err := record.Parse(d.bytes())
	if err != nil {
		d.bad = true
		return
	}
	c := &secured{Session: session}
	i.Cipher, i.Raw, i.Ended = c, d.bytes(), d.bool()
	n := d.uint()
	for d.bad = d.bad || n > maxChain; n > 0 && !d.bad; n-- {
		c.chain = append(c.chain, append([]byte(nil), d.bytes()...))
	}
}

func (w *worker) distrust(c *loop.Conn, why error) {
	if !c.Closed() && !c.Frozen() {
		w.count.Distrusted++
		w.engine.log.Info("closing a connection whose peer is not trusted any more", "id", c.ID, "reason", why.Error())
		c.Close(record.Untrusted(why))
	}
}
