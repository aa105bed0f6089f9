package proxy

import (
	"slices"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http2"
)

// http2Pipe is one direction of an exchange: the body of the request or of the response, and its trailers.
type http2Pipe struct {
	x        *http2Exchange
	response bool
	queued   bool          // in the blocked list of the connection that it goes to
	end      bool          // all of the message has come
	done     bool          // all of it has gone on
	buf      []byte        // come, and not gone on
	at       int           // of buf that has gone on
	prepaid  int           // what goes on next that was granted to its sender when it went on before
	moved    time.Duration // when some of buf has
	trailers []byte        // written down; nil for none
}

// from and to are the connections and streams that it connects; the endpoint's are nil before there is one.
func (p *http2Pipe) from() (*http2Wire, *http2.Stream) { return p.x.side(p.response) }

func (p *http2Pipe) to() (*http2Wire, *http2.Stream) { return p.x.side(!p.response) }

// side returns the endpoint's or the client's side of an exchange.
func (x *http2Exchange) side(endpoint bool) (*http2Wire, *http2.Stream) {
	if !endpoint {
		return &x.client.http2Wire, x.down
	}
	if x.up == nil || x.sent == nil {
		return nil, nil
	}
	return &x.up.http2Wire, x.sent
}

// take passes data on that has just come; what cannot go on is kept.
func (p *http2Pipe) take(data []byte, end bool) {
	p.end = p.end || end
	if len(p.buf) == 0 && !p.queued {
		data = data[p.write(data):]
	}
	if len(data) > 0 {
		w := p.x.w
		if w.http2.held+len(data) > http2Held && !w.relieveHTTP2(p, len(data)) || p.x.over {
			return
		}
		if w.http2.held += len(data); len(p.buf) == 0 {
			p.moved = w.loop.Now()
		}
		p.buf = w.loop.Pool().Append(p.buf, data)
		p.block()
		return
	}
	if len(p.buf) == 0 {
		p.finish()
	}
}

// write sends as much of data as may go now, and grants it to the sender again.
func (p *http2Pipe) write(data []byte) int {
	to, s := p.to()
	sent := 0
	for s != nil && sent < len(data) && !s.LocalEnded() {
		n := min(to.room(s), len(data)-sent)
		if n == 0 {
			break
		}
		last := p.end && len(p.trailers) == 0 && sent+n == len(data)
		h := to.proto.DataHeader(s, n, last)
		to.conn.Write(h[:])
		to.conn.Write(data[sent : sent+n])
		sent += n
		p.done = p.done || last
	}
	before := min(p.prepaid, sent)
	p.prepaid -= before
	if e := p.x.goal.line; e != nil {
		if p.response {
			e.Out += uint64(sent)
		} else {
			e.In += uint64(sent - before) // what is sent again has come once
		}
	}
	if from, s := p.from(); from != nil {
		from.credit(s, sent-before)
	}
	return sent
}

// flush goes on with what was kept: at most a frame, so that others get their turn. It says whether anything has gone.
func (p *http2Pipe) flush() bool {
	rest := p.buf[p.at:]
	if p.x.over {
		return false
	}
	if len(rest) == 0 {
		p.finish()
		return false
	}
	piece := rest[:min(len(rest), http2Piece)]
	end := p.end
	p.end = end && len(piece) == len(rest)
	n := p.write(piece)
	p.end = end
	if p.at += n; n > 0 {
		p.moved = p.x.w.loop.Now()
	}
	p.x.w.http2.held -= n
	if p.at < len(p.buf) {
		p.block()
		return n > 0
	}
	p.release()
	p.finish()
	return n > 0
}

// http2Piece is what one stream may write before it is another's turn.
const http2Piece = 16 << 10

// finish ends the message when all of it has gone on.
func (p *http2Pipe) finish() {
	if !p.end || p.done {
		p.x.settle()
		return
	}
	to, s := p.to()
	if s == nil {
		return // when there is an endpoint
	}
	p.done = true
	switch {
	case s.LocalEnded():
	case len(p.trailers) > 0:
		f := &p.x.w.http2.fields
		if _, err := f.Parse(p.trailers); err != nil {
			p.x.abort(http2.InternalError)
			return
		}
		to.headers(s, f, true)
	default:
		h := to.proto.DataHeader(s, 0, true)
		to.conn.Write(h[:])
	}
	p.x.settle()
}

// block waits for the connection that it goes to, when there is one.
func (p *http2Pipe) block() {
	if to, _ := p.to(); to != nil && !p.queued {
		p.queued = true
		to.blocked = append(to.blocked, p)
	}
}

// release gives the buffer back.
func (p *http2Pipe) release() {
	p.x.w.http2.held -= len(p.buf) - p.at
	p.x.w.loop.Pool().Give(p.buf)
	p.buf, p.at = nil, 0
}

// drop forgets everything that has not gone on.
func (p *http2Pipe) drop() {
	if p.queued {
		to, _ := p.to()
		to.blocked = slices.DeleteFunc(to.blocked, func(q *http2Pipe) bool { return q == p })
		p.queued = false
	}
	p.release()
	p.setTrailers(nil)
}

// relieveHTTP2 resets streams that are stuck when too much is kept. It says whether n more bytes of p may be.
func (w *worker) relieveHTTP2(p *http2Pipe, n int) bool {
	now := w.loop.Now()
	if now-w.http2.relief >= time.Second {
		w.http2.relief = now
		var stuck []*http2Exchange
		for _, c := range w.http2.clients {
			for _, q := range c.blocked {
				if q != p && now-q.moved >= clientPatience {
					stuck = append(stuck, q.x)
				}
			}
		}
		for _, x := range stuck {
			w.count.Slow++
			x.blame(FlagSlow)
			x.abort(http2.EnhanceYourCalm)
		}
	}
	if w.http2.held+n <= http2Held || len(p.buf)-p.at+n <= http2Piece {
		return true
	}
	w.count.Slow++
	p.x.blame(FlagSlow)
	p.x.abort(http2.EnhanceYourCalm)
	return false
}
