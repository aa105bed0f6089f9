package upstream

import (
	"math"
	"net/netip"
	"time"
)

// Failing endpoints rest for a while that doubles from minRest to maxRest.
const (
	minRest = 250 * time.Millisecond
	maxRest = 10 * time.Second
)

// Peer is what one loop knows of an endpoint, whatever it speaks with it.
type Peer struct {
	Addr netip.AddrPort
	// Gone says that the endpoint has left the cluster: its connections finish what they have.
	Gone bool

	roster *roster // that it is in; nil once Gone
	vital  *Vital  // what all loops know; nil where nothing is configured that needs it
	weight uint32
	zone   int32 // place in the roster's zones
	sick   bool  // as the configuration says

	active   int    // requests without an answer
	requests uint64 // ever sent
	errors   uint64 // of those, the ones that the endpoint has failed, and connections that could not be opened
	credit   int64  // of its turn
	latency  latency
	failures int
	restTill time.Duration
	joined   time.Duration
	known    bool // joined is set
	well     bool // when the roster looked last
}

// Outcome says how a request has ended, as far as it says something of the endpoint.
type Outcome uint8

// Outcomes.
const (
	OutcomeOK      Outcome = iota
	OutcomeError           // the endpoint answered that it failed
	OutcomeGateway         // there was no connection or no answer, or one that no application has made
)

// Begin counts a request that is sent to the endpoint; End the end of it, whatever that is.
func (p *Peer) Begin() {
	p.active++
	p.requests++
}

// End undoes Begin.
func (p *Peer) End() { p.active-- }

// Active is the number of requests without an answer.
func (p *Peer) Active() int { return p.active }

// Counts are the requests that were ever sent to the endpoint, and how often it has failed.
func (p *Peer) Counts() (requests, errors uint64) { return p.requests, p.errors }

// Report tells how a request has ended. took is the time to the answer, 0 when that is not known.
func (p *Peer) Report(o Outcome, now, took time.Duration) {
	if o != OutcomeOK {
		p.errors++
	}
	if p.roster == nil {
		return
	}
	if took > 0 && p.roster.timed {
		p.latency.observe(float64(took), now, o != OutcomeOK)
	}
	if p.vital != nil {
		p.roster.shared.report(p.vital, o, now)
	}
}

// Failed makes the host rest: it could not be reached. Worked ends that.
func (p *Peer) Failed(now time.Duration) {
	p.restTill = now + min(minRest<<min(p.failures, 10), maxRest)
	p.failures++
	p.stale()
	p.Report(OutcomeGateway, now, 0)
}

// Leaves makes the host rest for long: it has said that it will end, which is no failure. While all others rest it is used all the same.
func (p *Peer) Leaves(now time.Duration) {
	p.restTill = max(p.restTill, now+maxRest)
	p.stale()
}

// Worked says that a connection to the host was opened.
func (p *Peer) Worked() {
	if p.failures == 0 {
		return
	}
	p.failures, p.restTill = 0, 0
	p.stale()
}

func (p *Peer) stale() {
	if p.roster != nil {
		p.roster.stale = true
	}
}

// latencyMemory is how long a latency is remembered: what is that old weighs 1/e of what is new.
const latencyMemory = 10 * time.Second

// latency is a moving average that follows peaks at once and forgets them slowly (the "peak EWMA" of Finagle's balancer).
type latency struct {
	value float64 // nanoseconds; 0 before the first
	at    time.Duration
}

// observe takes a sample. A failure never makes the endpoint look faster.
func (l *latency) observe(sample float64, now time.Duration, failed bool) {
	decayed := l.now(now)
	switch {
	case sample >= decayed:
		l.value = sample
	case failed:
		l.value = decayed
	default:
		keep := math.Exp(-float64(now-l.at) / float64(latencyMemory))
		l.value = l.value*keep + sample*(1-keep)
	}
	l.at = now
}

// now is the average as it is worth at a time: an endpoint that nobody asks is tried again some day.
func (l *latency) now(now time.Duration) float64 {
	if l.value == 0 || now <= l.at {
		return l.value
	}
	return l.value * math.Exp(-float64(now-l.at)/float64(latencyMemory))
}
