package route

import "math/bits"

// Sequence is one loop's place in the choices of one route. Any start will do; different loops and sidecars start at
// different places, or all of them would send their first request to the same cluster.
//
// It is the additive recurrence of the golden ratio: each number is the last one plus 0.618..., without the part before
// the point. Any stretch of it, from any start, hits every interval as often as its length says, but for about one in each
// tenfold of the stretch: a split of 10 % is met within 5 of 10,000 requests, in bursts as well, and so it is over many
// sidecars that see a few requests each. Random numbers would miss it by 100. Unlike turns that repeat it also has no
// period that the requests of a client could have, too.
type Sequence uint64

// golden is 2^64 over the golden ratio.
const golden = 0x9E3779B97F4A7C15

func (s *Sequence) next() uint64 {
	*s += golden
	return uint64(*s)
}

// split is a choice by weight.
type split struct {
	ends  []uint64 // of each one's interval
	total uint64   // below 2^33
}

func (s *split) add(weight uint32) {
	s.total += uint64(weight)
	s.ends = append(s.ends, s.total)
}

func (s *split) choose(at *Sequence) int {
	point, _ := bits.Mul64(at.next(), s.total) // from 0 to total-1, each as often as any other
	for i, end := range s.ends {
		if point < end {
			return i
		}
	}
	return 0
}

// Choose returns the index in Clusters that the next request goes to.
func (r *Route) Choose(at *Sequence) int {
	if len(r.Clusters) <= 1 {
		return 0
	}
	return r.split.choose(at)
}

// Mirrors says whether the next request is copied.
func (r *Route) Mirrors(at *Sequence) bool { return r.Mirror != "" && r.mirror.choose(at) == 0 }
