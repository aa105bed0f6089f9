package proxy

import "github.com/axlemesh/axle/sidecar/upstream"

// Spent is how many retries the budgets of all routes count now, and how many requests endpoints are taken to have open.
func (e *Engine) Spent() (retries, open int64) {
	e.budgets.Range(func(_, b any) bool {
		retries += b.(*budget).retries.Load()
		return true
	})
	e.peers(func(_ string, p *upstream.Peer) { open += int64(p.Active()) })
	return retries, open
}

// Told is how many requests were sent to an endpoint, and how often it was said to have failed.
func (e *Engine) Told(endpoint string) (requests, errors uint64) {
	e.peers(func(at string, p *upstream.Peer) {
		if at == endpoint {
			r, n := p.Counts()
			requests, errors = requests+r, errors+n
		}
	})
	return requests, errors
}

func (e *Engine) peers(fn func(at string, p *upstream.Peer)) {
	for _, w := range e.workers {
		w.loop.Call(func() {
			for _, c := range w.clusters {
				for _, h := range c.Hosts() {
					fn(h.Addr.String(), &h.Peer)
				}
				for _, h := range c.web().Hosts() {
					fn(h.Addr.String(), &h.Peer)
				}
				for _, h := range c.streams().Hosts() {
					fn(h.Addr.String(), &h.Peer)
				}
			}
		})
	}
}
