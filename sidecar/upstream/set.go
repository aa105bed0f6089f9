package upstream

import "slices"

// set is some peers with their weights, prepared for a choice. It allocates only in room.
type set struct {
	at     []int // places in the roster
	weight []uint64
	upTo   []uint64 // sums of the weights up to each
	even   bool     // all weights are the same
	next   int      // whose turn it is, when they are
	seen   int      // how many places of the roster have had their turn in this round
}

// room makes room for n peers.
func (s *set) room(n int) {
	if cap(s.at) < n {
		s.at, s.weight, s.upTo = make([]int, 0, n), make([]uint64, 0, n), make([]uint64, 0, n)
	}
}

func (s *set) clear() { s.at, s.weight, s.upTo = s.at[:0], s.weight[:0], s.upTo[:0] }

func (s *set) add(at int, weight uint64) {
	s.at, s.weight = append(s.at, at), append(s.weight, weight)
}

// done follows the last add.
func (s *set) done() {
	s.even = true
	sum := uint64(0)
	for _, w := range s.weight {
		sum += w
		s.upTo = append(s.upTo, sum)
		s.even = s.even && w == s.weight[0]
	}
	s.next, _ = slices.BinarySearch(s.at, s.seen)
}

// draw chooses by chance, by weight.
func (s *set) draw(r *random) int {
	if s.even {
		return int(r.below(uint64(len(s.at))))
	}
	at, found := slices.BinarySearch(s.upTo, r.below(s.upTo[len(s.upTo)-1]))
	if found {
		at++
	}
	return at
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
	peers[best].credit -= int64(s.upTo[len(s.upTo)-1])
	return best
}
