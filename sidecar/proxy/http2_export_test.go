package proxy

// BoundHTTP2 sets how many HTTP/2 connections with requests a handover moves of a loop, and how heavy they may be.
func (e *Engine) BoundHTTP2(conns, bytes int) {
	for _, w := range e.workers {
		w.loop.Call(func() { w.http2.most, w.http2.bytes = conns, bytes })
	}
}

// PartHTTP2 sets how many connections a part of a batch has, and WholeHTTP2 what all parts of one may have.
func (e *Engine) PartHTTP2(conns int) {
	for _, w := range e.workers {
		w.loop.Call(func() { w.http2.part.conns = conns })
	}
}

func (e *Engine) WholeHTTP2(conns, bytes int) {
	for _, w := range e.workers {
		w.loop.Call(func() { w.http2.whole = http2Bound{conns, bytes} })
	}
}

// WeightHTTP2 is how heavy the connections are that have to move together.
func (e *Engine) WeightHTTP2() (n int) {
	for _, w := range e.workers {
		w.loop.Call(func() {
			size, _, _ := w.openHTTP2(&frozen{})
			n += size
		})
	}
	return n
}

// HeldHTTP2 is how many bytes of bodies wait in all loops, and how many exchanges are not over, for tests in the other package.
func (e *Engine) HeldHTTP2() (bytes, exchanges int) {
	for _, w := range e.workers {
		w.loop.Call(func() {
			bytes += w.http2.held + w.http2.kept + w.http2.heads + len(w.http2.bodies)
			for _, c := range w.http2.clients {
				exchanges += c.proto.Streams()
			}
		})
	}
	return bytes, exchanges
}

// SpareHTTP2 is how many exchanges are kept to be used again, and how many that may be.
func (e *Engine) SpareHTTP2() (n, most int) {
	for _, w := range e.workers {
		w.loop.Call(func() { n += len(w.http2.spare) })
	}
	return n, http2Spare * len(e.workers)
}

// FillHTTP2 leaves no room for requests that are kept to be sent again.
func (e *Engine) FillHTTP2() {
	for _, w := range e.workers {
		w.loop.Call(func() { w.http2.kept = http2Kept })
	}
}

// CopiesHTTP2 is how many copies are on their way, and bytes of them.
func (e *Engine) CopiesHTTP2() (n int) {
	for _, w := range e.workers {
		if !w.loop.Call(func() { n += w.http2.copies.open + w.http2.copies.bytes }) {
			n += w.http2.copies.open + w.http2.copies.bytes
		}
	}
	return n
}
