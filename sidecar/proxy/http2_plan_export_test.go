package proxy

// PlansHTTP2 is how many bytes a handover would write of what routes have still to do for HTTP/2 requests.
func (e *Engine) PlansHTTP2() (n int) {
	for _, w := range e.workers {
		w.loop.Call(func() {
			for _, c := range w.http2.clients {
				var e encoder
				c.plans(&e)
				n += len(e.b)
			}
		})
	}
	return n
}
