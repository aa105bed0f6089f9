package route

import (
	"math/bits"

	"github.com/axlemesh/axle/sidecar/config"
)

// Sequence is one loop's place in the choices of one route. Any start will do; different loops and sidecars start at
// different places, or all of them would send their first request to the same cluster.
//
// It is the additive recurrence of the golden ratio: each number is the last one plus 0.618..., without the part before
// the point. Any stretch of it, from any start, hits every interval as often as its length says, but for about one in each
// tenfold of the stretch: a split of 10 % is met within 5 of 10,000 requests, in bursts as well, and so it is over many
// sidecars that see a few requests each. Random numbers would miss it by 100. Unlike turns that repeat it also has no
// period that the requests of a client could have, too.
//
// The zero value is one that starts at 0.
type Sequence struct{ at, more uint64 }

// golden is 2^64 over the golden ratio.
const golden = 0x9E3779B97F4A7C15

// steps of sequences that belong together, as parts of 2^64: the golden ratio, √2-1, √3-1 and (√13-3)/2. Each of them keeps to its
// part nearly as well as the first one does. With one step for all, what one of them chooses would decide about the others: a mirror
// of a tenth would copy the requests of one cluster of a split only.
var steps = [...]uint64{golden, 0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x4D82B446159F360F}

// Related is how many sequences there are of which each chooses for itself.
const Related = len(steps)

// Start makes the nth of the Related sequences, from a place of its own.
func Start(at uint64, nth int) Sequence { return Sequence{at, steps[nth] - golden} }

func (s *Sequence) next() uint64 {
	s.at += golden + s.more
	return s.at
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

func (s *split) choose(at *Sequence) int { return s.at(at.next()) }

// at chooses by a number that is as likely to be any as any other.
func (s *split) at(number uint64) int {
	point, _ := bits.Mul64(number, s.total) // from 0 to total-1, each as often as any other
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

// Stick returns the index in Clusters that every request with this value goes to.
func (r *Route) Stick(value []byte) int {
	if len(r.Clusters) <= 1 {
		return 0
	}
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range value {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9 // values that differ in their end only have to be spread (splitmix64)
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return r.split.at(h ^ h>>31)
}

// Takes says whether the next of a sequence is in a fraction.
func Takes(f config.Fraction, at *Sequence) bool {
	if f.Numerator == 0 {
		return false
	}
	point, _ := bits.Mul64(at.next(), uint64(f.Denominator))
	return point < uint64(f.Numerator)
}

// Below returns the next number of a sequence that is below n.
func (s *Sequence) Below(n uint64) uint64 {
	number, _ := bits.Mul64(s.next(), n)
	return number
}
