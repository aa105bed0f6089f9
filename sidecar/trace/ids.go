package trace

import (
	"crypto/rand"
	"encoding/binary"
	"math"
	random "math/rand/v2"
)

// ids makes ids for one loop: the kernel's randomness is asked once, for the seed.
type ids struct{ source *random.ChaCha8 }

func newIDs() ids {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails (crypto/rand)
	return ids{random.NewChaCha8(seed)}
}

// trace returns an id that is not zero.
func (s ids) trace() (id ID) {
	for id == (ID{}) {
		binary.BigEndian.PutUint64(id[:8], s.source.Uint64())
		binary.BigEndian.PutUint64(id[8:], s.source.Uint64())
	}
	return id
}

// span returns an id that is not zero.
func (s ids) span() (id SpanID) {
	for id == (SpanID{}) {
		binary.BigEndian.PutUint64(id[:], s.source.Uint64())
	}
	return id
}

// Sampling is a share of all requests.
type Sampling uint64

// Percent is the share of so many in a hundred.
func Percent(p float64) Sampling {
	if p >= 100 {
		return math.MaxUint64
	}
	return Sampling(max(p, 0) / 100 * math.MaxUint64)
}

// takes says whether a trace is in the share. All who ask for the same trace and share get the same answer.
func (s Sampling) takes(id *ID) bool { return s > 0 && id.share() <= uint64(s) }
