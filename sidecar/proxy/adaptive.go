package proxy

import (
	"maps"

	"github.com/axlemesh/axle/sidecar/upstream"
)

// Adaptive is how many requests clusters may have open that find it out by themselves, by name.
func (e *Engine) Adaptive() map[string]int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string]int64{}
	for name, a := range e.adaptives() {
		all[name] = a.Limit()
	}
	return all
}

// adaptives are the limits in force; the engine is locked.
func (e *Engine) adaptives() map[string]*upstream.Adaptive {
	all := map[string]*upstream.Adaptive{}
	for name := range e.snapshot.Clusters {
		if s := e.shared[name]; s != nil && s.Adaptive() != nil {
			all[name] = s.Adaptive()
		}
	}
	return all
}

// adaptive is what the next process has to know of those limits.
func (e *Engine) adaptive() map[string]upstream.AdaptiveState {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string]upstream.AdaptiveState{}
	for name, a := range e.adaptives() {
		all[name] = a.State()
	}
	return all
}

// warmAdaptive goes on from what an earlier process has found out; the engine is locked. A cluster that the configuration
// here does not have yet gets it when it comes.
func (e *Engine) warmAdaptive(all map[string]upstream.AdaptiveState) {
	e.warmed = maps.Clone(all)
	for name, a := range e.adaptives() {
		e.restoreAdaptive(name, a)
	}
}

// restoreAdaptive restores a cluster's limit, once.
func (e *Engine) restoreAdaptive(name string, a *upstream.Adaptive) {
	if s, ok := e.warmed[name]; ok && a != nil {
		a.Restore(s)
		delete(e.warmed, name)
	}
}
