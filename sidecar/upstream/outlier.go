package upstream

import (
	"math"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// report counts an outcome, and ejects an endpoint when it is the one too many. While everything is well it only reads.
func (s *Shared) report(v *Vital, o Outcome, now time.Duration) {
	cfg := s.outlier.Load()
	if cfg == nil || v.ejected(now) {
		return
	}
	if cfg.SuccessRate != nil {
		v.tried.Add(1)
		if o == OutcomeOK {
			v.succeeded.Add(1)
		}
		s.sweep(cfg, now)
	}
	switch o {
	case OutcomeGateway:
		if n := v.gateway.Add(1); cfg.ConsecutiveGateway > 0 && int(n) >= cfg.ConsecutiveGateway {
			s.eject(cfg, v, now)
			return
		}
	default:
		clearCount(&v.gateway)
	}
	if o == OutcomeOK {
		clearCount(&v.failed)
	} else if n := v.failed.Add(1); cfg.Consecutive > 0 && int(n) >= cfg.Consecutive {
		s.eject(cfg, v, now)
	}
}

// clearCount does not write what is 0 already: other loops read it.
func clearCount(n interface {
	Load() int32
	Store(int32)
}) {
	if n.Load() != 0 {
		n.Store(0)
	}
}

// eject takes an endpoint out for a while, unless too many are out.
func (s *Shared) eject(cfg *config.Outlier, v *Vital, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ejectLocked(cfg, v, now)
}

func (s *Shared) ejectLocked(cfg *config.Outlier, v *Vital, now time.Duration) {
	out := 0
	for _, other := range s.vitals {
		if other.ejected(now) {
			out++
		}
	}
	v.failed.Store(0)
	v.gateway.Store(0)
	if v.ejected(now) || (out+1)*100 > cfg.MaxPercent*len(s.vitals) && (!cfg.AlwaysOne || out > 0) {
		return
	}
	if last := time.Duration(v.ejectedTill.Load()); last > 0 {
		v.times = max(0, v.times-int((now-last)/cfg.Interval))
	}
	v.times = min(v.times+1, maxTimes)
	v.ejections++
	s.ejections.Add(1)
	if s.Ejected != nil {
		s.Ejected.Add(1)
	}
	v.ejectedTill.Store(int64(now + min(cfg.BaseEjection*time.Duration(v.times), cfg.MaxEjection)))
	s.epoch.Add(1)
}

// maxTimes keeps the product of an ejection's length in range.
const maxTimes = 1000

// sweep compares success rates once in an interval; the loop that comes first does it.
func (s *Shared) sweep(cfg *config.Outlier, now time.Duration) {
	last := s.swept.Load()
	if last == 0 {
		s.swept.CompareAndSwap(0, int64(max(now, 1)))
		return
	}
	if now-time.Duration(last) < cfg.Interval || !s.swept.CompareAndSwap(last, int64(now)) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	least, judged := s.bar(cfg.SuccessRate)
	for _, v := range s.vitals {
		if rate, ok := v.rate(cfg.SuccessRate); ok && judged && rate < least {
			s.ejectLocked(cfg, v, now)
		}
	}
	for _, v := range s.vitals {
		v.tried.Store(0)
		v.succeeded.Store(0)
	}
}

// rate of success; ok is false when there were too few requests for a verdict.
func (v *Vital) rate(cfg *config.SuccessRate) (rate float64, ok bool) {
	tried := v.tried.Load()
	if tried < int64(cfg.Requests) {
		return 0, false
	}
	return float64(v.succeeded.Load()) / float64(tried), true
}

// bar is the rate that an endpoint has to reach: the mean less Factor standard deviations.
func (s *Shared) bar(cfg *config.SuccessRate) (least float64, judged bool) {
	var n, sum, squares float64
	for _, v := range s.vitals {
		if rate, ok := v.rate(cfg); ok {
			n++
			sum += rate
			squares += rate * rate
		}
	}
	if n == 0 || int(n) < cfg.Endpoints {
		return 0, false
	}
	mean := sum / n
	return mean - cfg.Factor*math.Sqrt(max(0, squares/n-mean*mean)), true
}
