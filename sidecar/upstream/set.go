package upstream

import (
	"math/bits"
	"slices"
)

// set is some peers with their weights, prepared for a choice. It allocates only in room.
type set struct {
	at     []int // places in the roster
	weight []uint64
	sum    uint64 // of the weights
	even   bool   // all weights are the same
	next   int    // whose turn it is, when they are
	seen   int    // how many places of the roster have had their turn in this round

	// By chance, in one step (Vose's alias method, IEEE TSE 17(9), 1991): a draw lands evenly in one of as many columns as there
	// are peers, each sum high. Below keep it is that peer's, above another's.
	keep  []uint64
	other []int32
	work  []int32 // scratch of columns: those that are not full from the front, the others from the back
}

// room makes room for n peers.
func (s *set) room(n int) {
	if cap(s.at) < n {
		s.at, s.weight, s.keep = make([]int, 0, n), make([]uint64, 0, n), make([]uint64, n)
		s.other, s.work = make([]int32, n), make([]int32, n)
	}
}

func (s *set) clear() { s.at, s.weight = s.at[:0], s.weight[:0] }

func (s *set) add(at int, weight uint64) {
	s.at, s.weight = append(s.at, at), append(s.weight, weight)
}

// done follows the last add.
func (s *set) done() {
	s.even, s.sum = true, 0
	for _, w := range s.weight {
		s.sum += w
		s.even = s.even && w == s.weight[0]
	}
	s.next, _ = slices.BinarySearch(s.at, s.seen)
	if !s.even {
		s.columns()
	}
}

// columns fills what is missing in each column with what others have too much.
func (s *set) columns() {
	n := len(s.at)
	low, high := 0, n
	put := func(k int32) {
		if s.keep[k] < s.sum {
			s.work[low] = k
			low++
		} else {
			high--
			s.work[high] = k
		}
	}
	for k, w := range s.weight {
		s.keep[k], s.other[k] = w*uint64(n), int32(k)
		put(int32(k))
	}
	for low > 0 && high < n {
		low--
		small, large := s.work[low], s.work[high]
		high++
		s.other[small] = large
		s.keep[large] -= s.sum - s.keep[small]
		put(large)
	}
}

// draw chooses by chance, by weight.
func (s *set) draw(r *random) int {
	k, rest := bits.Mul64(r.next(), uint64(len(s.at)))
	if s.even {
		return int(k)
	}
	if high, _ := bits.Mul64(rest, s.sum); high >= s.keep[k] {
		return int(s.other[k])
	}
	return int(k)
}

// drawOther draws as draw does; when weights are even, not k again.
func (s *set) drawOther(r *random, k int) int {
	if !s.even {
		return s.draw(r)
	}
	other := int(r.below(uint64(len(s.at) - 1)))
	if other >= k {
		other++
	}
	return other
}

// turn chooses in turn. With weights, each choice gives every peer credit for its weight and takes the sum of all from the
// one that has most: within a round each comes as often as its weight says, and as evenly spread as can be.
func (s *set) turn(peers []*Peer) int {
	if s.even {
		if s.next >= len(s.at) {
			s.next = 0
		}
		at := s.at[s.next]
		s.next, s.seen = s.next+1, at+1
		return at
	}
	best := -1
	for k, at := range s.at {
		p := peers[at]
		p.credit += int64(s.weight[k])
		if best < 0 || p.credit > peers[best].credit {
			best = at
		}
	}
	peers[best].credit -= int64(s.sum)
	return best
}
