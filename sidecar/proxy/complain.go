package proxy

import "time"

// Lines that the log has about peers which break the protocol: for each listener and cluster of a loop so many at once, and
// then no more before it has rested. Each costs a system call on the loop, and whoever is refused may come back at once.
const (
	complaintsAtOnce = 10
	complaintsRest   = 5 * time.Second
	// complaintsOf is how many listeners and clusters are remembered, also of those that are gone.
	complaintsOf = 1024
)

// complaints are the lines about the peers of one listener or cluster.
type complaints struct {
	since  time.Duration // of the first one behind a rest
	told   int           // since then
	untold int           // since the last one
}

// accuse lets the log say that a peer broke the protocol.
func (w *worker) accuse(at place, why error) {
	if at.cluster {
		w.complain("an endpoint broke the protocol", at, why)
		return
	}
	w.complain("closing a connection whose peer broke the protocol", at, why)
}

// complain lets the log say what a peer has done: "on" a listener, or as an endpoint of a "cluster".
func (w *worker) complain(message string, at place, why error) {
	x := w.complaints[at]
	if x == nil {
		if len(w.complaints) >= complaintsOf {
			clear(w.complaints)
		}
		x = &complaints{}
		w.complaints[at] = x
	}
	if now := w.loop.Now(); x.told == 0 || now-x.since >= complaintsRest {
		x.since, x.told = now, 0
	}
	if x.told >= complaintsAtOnce {
		x.untold++
		return
	}
	x.told++
	what := "on"
	if at.cluster {
		what = "cluster"
	}
	w.engine.log.Info(message, what, at.name, "reason", why.Error(), "untold", x.untold)
	x.untold = 0
}
