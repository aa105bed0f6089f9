package proxy

// Spent is how many retries the budgets of all routes count now, and how many requests endpoints are taken to have open.
func (e *Engine) Spent() (retries, open int64) {
	e.budgets.Range(func(_, b any) bool {
		retries += b.(*budget).retries.Load()
		return true
	})
	for _, w := range e.workers {
		w.loop.Call(func() {
			for _, c := range w.clusters {
				for _, h := range c.Hosts() {
					open += int64(h.Active())
				}
				if c.http != nil {
					for _, h := range c.http.Hosts() {
						open += int64(h.Active())
					}
				}
				if c.http2 != nil {
					for _, h := range c.http2.Hosts() {
						open += int64(h.Active())
					}
				}
			}
		})
	}
	return retries, open
}
