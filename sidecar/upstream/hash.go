package upstream

import (
	"encoding/binary"
	"math/bits"
)

// Hash of b: the same in every process, and never 0, which means that there is none. Its form is that of multiply-and-fold
// hashes such as wyhash; nothing but evenness is expected of it.
func Hash(b []byte) uint64 {
	h := uint64(len(b)) ^ hashSeed
	for ; len(b) >= 8; b = b[8:] {
		h = fold(h^binary.LittleEndian.Uint64(b), hashFactor)
	}
	var tail uint64
	for i, c := range b {
		tail |= uint64(c) << (8 * i)
	}
	h = fold(h^tail, hashFactor)
	return max(fold(h, hashSeed), 1)
}

// Combine makes one hash of two parts, in their order.
func Combine(a, b uint64) uint64 { return max(fold(bits.RotateLeft64(a, 1)^b, hashFactor), 1) }

const (
	hashSeed   = 0x9E3779B97F4A7C15
	hashFactor = 0xD6E8FEB86659FD93
)

// fold multiplies and adds both halves of the product into one. Every bit of a counts in the product.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo ^ a
}

// random is a stream of numbers (splitmix64); its value is its place.
type random uint64

func (r *random) next() uint64 {
	*r += hashSeed
	x := uint64(*r)
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// below returns a number from 0 to n-1.
func (r *random) below(n uint64) uint64 {
	hi, _ := bits.Mul64(r.next(), n)
	return hi
}
