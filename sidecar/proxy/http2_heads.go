package proxy

import "github.com/axlemesh/axle/sidecar/codec/http2"

// Bounds of the heads and trailers that are kept: of requests that wait, or may be sent again, and of messages whose bodies have not
// gone on. They move in a batch, which has to have room for the connections besides: a client whose requests all wait must not
// keep a sidecar from being upgraded, nor take the room of all others.
const (
	http2Heads  = http2Batch / 2 // bytes of one loop
	clientHeads = http2Heads / 4 // of one client
)

// keeps takes room for n bytes; false when there is none.
func (c *http2Client) keeps(n int) bool {
	if c.heads+n > clientHeads || c.w.http2.heads+n > http2Heads {
		return false
	}
	c.addHeads(n)
	return true
}

// addHeads accounts for n bytes more, or less, whether there is room or not.
func (c *http2Client) addHeads(n int) {
	c.heads += n
	c.w.http2.heads += n
}

// keepFields writes a head down; false when there is no room for it.
func (x *http2Exchange) keepFields(f *http2.Fields) bool {
	head := f.AppendBinary(x.w.loop.Pool().Take(1 << 10))
	if !x.client.keeps(len(head)) {
		x.w.loop.Pool().Give(head)
		return false
	}
	x.head = head
	return true
}

// forget gives the head's buffer back.
func (x *http2Exchange) forget() {
	x.client.addHeads(-len(x.head))
	x.w.loop.Pool().Give(x.head)
	x.head = nil
}

// keepTrailers keeps what goes behind the body; false when there is no room for it.
func (p *http2Pipe) keepTrailers(f *http2.Fields) bool {
	trailers := f.AppendBinary(nil)
	if !p.x.client.keeps(len(trailers)) {
		return false
	}
	p.trailers = trailers
	return true
}

// setTrailers replaces them, whether there is room or not.
func (p *http2Pipe) setTrailers(b []byte) {
	p.x.client.addHeads(len(b) - len(p.trailers))
	p.trailers = b
}
