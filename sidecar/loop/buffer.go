package loop

import "math/bits"

// Buffers come in powers of two from 1 KiB to 1 MiB; larger ones are left to the garbage collector.
const (
	minShift = 10
	maxShift = 20
	// keep bounds what one size class holds back, in bytes.
	keep = 4 << 20
)

// Pool lends byte slices to one loop. The zero value is ready. It is not safe for concurrent use.
type Pool struct {
	free [maxShift - minShift + 1][][]byte
}

// Take returns an empty slice with room for at least n bytes.
func (p *Pool) Take(n int) []byte {
	shift := max(bits.Len(uint(max(n, 1)-1)), minShift)
	if shift > maxShift {
		return make([]byte, 0, n)
	}
	class := &p.free[shift-minShift]
	if last := len(*class) - 1; last >= 0 {
		b := (*class)[last]
		(*class)[last] = nil
		*class = (*class)[:last]
		return b
	}
	return make([]byte, 0, 1<<shift)
}

// Give takes a slice of Take back. The caller must not use it any more.
func (p *Pool) Give(b []byte) {
	shift := bits.Len(uint(cap(b))) - 1
	if cap(b) == 0 || cap(b) != 1<<shift || shift < minShift || shift > maxShift {
		return
	}
	class := &p.free[shift-minShift]
	if len(*class) < max(keep>>shift, 4) {
		*class = append(*class, b[:0])
	}
}

// Append is append(dst, data...) with the pool's buffers; dst may be nil.
func (p *Pool) Append(dst, data []byte) []byte {
	return append(p.Grow(dst, len(data)), data...)
}

// Grow makes room for n further bytes in dst, which may be nil. A large buffer grows by half at least: what is appended in
// small pieces must not be copied at each of them.
func (p *Pool) Grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	bigger := append(p.Take(max(len(dst)+n, min(2*cap(dst), 1<<maxShift), cap(dst)+cap(dst)/2)), dst...)
	p.Give(dst)
	return bigger
}
