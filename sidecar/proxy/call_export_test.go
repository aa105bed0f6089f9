package proxy

import "time"

// Calls is what the loops keep of requests that are delayed or may be sent again, for tests in the other package: bytes, and
// how many requests of a route, by its key, are open.
func (e *Engine) Calls() (bytes int, open int64) {
	for _, w := range e.workers {
		w.loop.Call(func() { bytes += w.callBytes })
	}
	e.budgets.Range(func(_, b any) bool {
		open += b.(*budget).active.Load()
		return true
	})
	return bytes, open
}

// Work keeps the first loop at work for so long.
func (e *Engine) Work(d time.Duration) {
	w := e.workers[0]
	w.loop.Call(func() {
		for begin := e.options.Clock(); e.options.Clock()-begin < d; {
		}
	})
}
