package app

import (
	"context"
	"time"
)

// certificatePoll is how often the files of certificates are looked at.
const certificatePoll = 5 * time.Second

// watchCertificates lets the data plane read certificates again that have changed.
func (a *app) watchCertificates(ctx context.Context) {
	t := time.NewTicker(certificatePoll)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if !a.isGiving() { // connections that are on their way would not be looked at
				a.engine.RefreshCertificates()
			}
		}
	}
}

func (a *app) isGiving() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.giving
}
