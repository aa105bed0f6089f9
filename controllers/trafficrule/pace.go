package trafficrule

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// pace keeps writes of one rule apart. The zero pace is ready.
type pace struct {
	mu   sync.Mutex
	last map[types.NamespacedName]time.Time
}

// wait says how long a write has to wait, 0 for not at all.
func (p *pace) wait(rule types.NamespacedName, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.last[rule]
	if !ok {
		return 0
	}
	return min(max(apart-now.Sub(last), 0), apart)
}

// wrote starts the time until the next write.
func (p *pace) wrote(rule types.NamespacedName, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[types.NamespacedName]time.Time{}
	}
	p.last[rule] = now
}

func (p *pace) forget(rule types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.last, rule)
}
