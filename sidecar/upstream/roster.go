package upstream

import (
	"math"
	"slices"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// roster chooses among the endpoints of one loop's view of a cluster. Who may be chosen, and by what weight, is worked out
// whenever it may have changed; a choice looks at the result.
type roster struct {
	cfg    *config.Cluster
	shared *Shared // nil without one
	peers  []*Peer // by address
	table  *Table  // of a policy that hashes
	random random
	timed  bool // latencies matter

	zones    []float64 // weight of each zone in the whole cluster; nil when zones do not matter. The sidecar's own is the first
	usable   []bool    // by peer
	near     set       // in the own zone, or everywhere when zones do not matter
	far      set
	nearPart uint64 // of 1<<32 requests, how many stay near
	stale    bool
	epoch    uint64
	until    time.Duration // when who may be chosen changes by itself

	here, there []float64 // scratch of zoneParts, by zone
}

const always = time.Duration(math.MaxInt64)

// set takes over peers, sorted by address.
func (r *roster) set(cfg *config.Cluster, shared *Shared, zone string, peers []*Peer) {
	r.cfg, r.shared, r.peers, r.table = cfg, shared, peers, nil
	r.timed = cfg.Balancing.Policy == config.PeakEWMA
	r.stale, r.usable = true, nil
	names := r.countZones(zone)
	for _, p := range peers {
		t := cfg.Traits[p.Addr]
		p.roster, p.weight, p.sick, p.vital = r, max(t.Weight, 1), t.Unhealthy, nil
		p.zone = int32(max(slices.Index(names, t.Zone), 0))
		if shared != nil && (cfg.Outlier != nil || cfg.Check != nil) {
			p.vital = shared.vital(p.Addr)
		}
	}
	if shared != nil && cfg.Balancing.Policy.Hashes() {
		r.table = shared.tableOf(peers)
	}
}

// countZones adds up the weight of each zone, the sidecar's own first. It leaves zones nil when they do not matter.
func (r *roster) countZones(own string) []string {
	r.zones, r.here, r.there = nil, nil, nil
	if !zoned(r.cfg, own) {
		return nil
	}
	names, weights := []string{own}, []float64{0}
	for _, a := range r.cfg.Endpoints {
		t := r.cfg.Traits[a]
		at := slices.Index(names, t.Zone)
		if at < 0 {
			at = len(names)
			names, weights = append(names, t.Zone), append(weights, 0)
		}
		if !t.Unhealthy {
			weights[at] += float64(max(t.Weight, 1))
		}
	}
	if len(names) > 1 && weights[0] > 0 {
		r.zones, r.here, r.there = weights, make([]float64, len(names)), make([]float64, len(names))
	}
	return names
}

// refresh works out who may be chosen at now.
func (r *roster) refresh(now time.Duration) {
	r.stale, r.until = false, always
	if r.usable == nil { // the first choice since set: most clusters of a large mesh are never asked for
		r.usable = make([]bool, len(r.peers))
		r.near.room(len(r.peers))
		if r.zones != nil {
			r.far.room(len(r.peers))
		}
	}
	if r.shared != nil {
		r.epoch = r.shared.epoch.Load()
	}
	well := 0
	for _, p := range r.peers {
		if r.look(p, now) {
			well++
		}
	}
	panicking := well < len(r.peers) && well*100 < r.cfg.Balancing.Panic*len(r.peers)
	first := -1 // of those that rest, the one that is back first
	awake := 0
	for i, p := range r.peers {
		may := p.well || panicking
		r.usable[i] = may && p.restTill <= now
		switch {
		case r.usable[i]:
			awake++
		case may:
			r.until = min(r.until, p.restTill)
			if first < 0 || p.restTill < r.peers[first].restTill {
				first = i
			}
		}
	}
	if awake == 0 && first >= 0 {
		r.usable[first] = true
	}
	r.fill(now, panicking)
}

// look finds out whether p is well, and notices when it joins.
func (r *roster) look(p *Peer, now time.Duration) bool {
	was := p.well
	p.well = !p.sick
	if v := p.vital; v != nil && p.well {
		if p.well = !v.unhealthy.Load() && !v.ejected(now); v.ejected(now) {
			r.until = min(r.until, time.Duration(v.ejectedTill.Load()))
		}
	}
	if !p.known || p.well && !was {
		p.known, p.joined = true, now
	}
	return p.well
}

// fill makes the sets of those that are usable.
func (r *roster) fill(now time.Duration, panicking bool) {
	r.near.clear()
	r.far.clear()
	r.nearPart = 1 << 32
	if r.zones == nil || panicking {
		for i, p := range r.peers {
			if r.usable[i] {
				r.near.add(i, r.weigh(p, now))
			}
		}
	} else {
		r.fillByZone(now)
	}
	r.near.done()
	r.far.done()
}

// weightScale leaves room below a weight of 1.
const weightScale = 1 << 10

// weigh is the weight of p now, in parts of weightScale.
func (r *roster) weigh(p *Peer, now time.Duration) uint64 {
	full := uint64(p.weight) * weightScale
	s := &r.cfg.Balancing.SlowStart
	age := now - p.joined
	if s.Window == 0 || age >= s.Window {
		return full
	}
	r.until = min(r.until, now+max(s.Window/slowSteps, time.Millisecond), p.joined+s.Window)
	part := math.Pow(float64(age)/float64(s.Window), 1/orOne(s.Aggression))
	least := s.MinPercent / 100
	if least == 0 {
		least = 0.1
	}
	return max(uint64(float64(full)*max(part, least)), 1)
}

// slowSteps is in how many steps a weight grows.
const slowSteps = 50

func orOne(v float64) float64 {
	if v == 0 {
		return 1
	}
	return v
}

// fillByZone keeps requests near as far as the own zone's part of the cluster allows: callers are taken to be spread evenly
// over the zones. What it cannot take goes to the zones that have more than their part, by what they have more.
func (r *roster) fillByZone(now time.Duration) {
	clear(r.here)
	clear(r.there)
	for i, p := range r.peers {
		r.there[p.zone] += float64(p.weight)
		if r.usable[i] {
			r.here[p.zone] += float64(p.weight)
		}
	}
	total := 0.0
	for z := range r.zones { // what is usable of the zone, as the part of it shows that this loop knows
		if r.there[z] > 0 {
			r.here[z] *= r.zones[z] / r.there[z]
		}
		total += r.here[z]
	}
	even := 1 / float64(len(r.zones))
	if total > 0 {
		r.nearPart = uint64(min(1, r.here[0]/total/even) * (1 << 32))
	}
	for i, p := range r.peers {
		switch {
		case !r.usable[i]:
		case p.zone == 0:
			r.near.add(i, r.weigh(p, now))
		default:
			more := max(0, r.here[p.zone]/total-even) / (r.here[p.zone] / total)
			if w := uint64(float64(r.weigh(p, now)) * more); w > 0 {
				r.far.add(i, w)
			}
		}
	}
}

// pick returns the place of a peer, -1 when there is none. hash is 0 for none.
func (r *roster) pick(now time.Duration, hash uint64) int {
	if r.stale || now >= r.until || r.shared != nil && r.epoch != r.shared.epoch.Load() {
		r.refresh(now)
	}
	if hash != 0 && r.table != nil {
		if i := r.table.find(hash, r.usable); i >= 0 {
			return i
		}
	}
	s := &r.near
	if len(r.far.at) > 0 && (len(s.at) == 0 || r.random.below(1<<32) >= r.nearPart) {
		s = &r.far
	}
	switch len(s.at) {
	case 0:
		return -1
	case 1:
		return s.at[0]
	}
	switch r.cfg.Balancing.Policy {
	case config.LeastRequest:
		return r.least(s, max(r.cfg.Balancing.Choices, 2), now)
	case config.PeakEWMA:
		return r.least(s, 2, now)
	case config.RoundRobin:
		return s.turn(r.peers)
	default:
		return s.at[s.draw(&r.random)]
	}
}

// least draws n and returns the one with the lowest cost; of equal ones the first that was drawn.
func (r *roster) least(s *set, n int, now time.Duration) int {
	k := s.draw(&r.random)
	best, lowest := k, r.cost(r.peers[s.at[k]], now)
	for range n - 1 {
		other := s.drawOther(&r.random, k)
		if cost := r.cost(r.peers[s.at[other]], now); cost < lowest {
			best, lowest = other, cost
		}
	}
	return s.at[best]
}

// unknownLatency is what an endpoint costs that has requests and has answered none yet: more than any that has.
const unknownLatency = float64(time.Minute)

// cost of one more request. Weights count in the draw, and here once more: a heavy endpoint may have more of them open.
func (r *roster) cost(p *Peer, now time.Duration) float64 {
	open := float64(p.active)
	if !r.timed {
		return open / float64(p.weight)
	}
	l := p.latency.now(now)
	if l == 0 && p.active > 0 {
		l = unknownLatency
	}
	return l * (open + 1) / float64(p.weight)
}
