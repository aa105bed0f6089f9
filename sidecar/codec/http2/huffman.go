package http2

import "errors"

// huffmanLengths has the number of bits of each byte's code (RFC 7541 appendix B). The code is canonical: within one length
// it counts up with the byte, so that the lengths say everything.
var huffmanLengths = [256]uint8{
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
	28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
	5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
	13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
	7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
	15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
	6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
	24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
	21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
	19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
	26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
}

const maxCode = 30 // bits

// huffmanTables are what the lengths say.
type huffmanTables struct {
	codes [256]uint32
	// quick has, for every eight bits, the byte whose code they begin with and that code's length; 0 for longer codes.
	quick [256]struct{ char, bits uint8 }
	// first code of each length, how many there are, and where their bytes are in order.
	first, count, start [maxCode + 1]uint32
	order               [256]uint8
}

var huffman = makeHuffman()

func makeHuffman() *huffmanTables {
	t := &huffmanTables{}
	code, n := uint32(0), uint32(0)
	for bits := uint8(1); bits <= maxCode; bits++ {
		code <<= 1
		t.first[bits], t.start[bits] = code, n
		for char, length := range huffmanLengths {
			if length != bits {
				continue
			}
			t.codes[char] = code
			t.order[n] = uint8(char)
			for i := uint32(0); bits <= 8 && i < 1<<(8-bits); i++ {
				t.quick[code<<(8-bits)|i] = struct{ char, bits uint8 }{uint8(char), bits}
			}
			code++
			n++
		}
		t.count[bits] = n - t.start[bits]
	}
	return t
}

var errHuffman = errors.New("a Huffman code that stands for nothing")

// appendHuffmanDecoded appends what b stands for. What is left of the last byte must be the beginning of the code for the end
// of the string: ones, and fewer than eight (RFC 7541 section 5.2).
func appendHuffmanDecoded(dst, b []byte) ([]byte, error) {
	t := huffman
	var acc uint64 // the lowest have bits are to be decoded
	have := uint(0)
	for i := 0; ; {
		for have <= 48 && i < len(b) {
			acc = acc<<8 | uint64(b[i])
			have += 8
			i++
		}
		if have >= 8 {
			if q := t.quick[uint8(acc>>(have-8))]; q.bits > 0 {
				dst = append(dst, q.char)
				have -= uint(q.bits)
				continue
			}
		}
		char, bits := t.slow(acc, have)
		if bits == 0 {
			return dst, checkPadding(acc, have)
		}
		dst = append(dst, char)
		have -= bits
	}
}

// slow finds a code of any length at the top of the have lowest bits of acc; bits is 0 when there is none.
func (t *huffmanTables) slow(acc uint64, have uint) (char uint8, bits uint) {
	for bits = 5; bits <= min(have, maxCode); bits++ {
		code := uint32(acc>>(have-bits)) & (1<<bits - 1)
		if at := code - t.first[bits]; code >= t.first[bits] && at < t.count[bits] {
			return t.order[t.start[bits]+at], bits
		}
	}
	return 0, 0
}

func checkPadding(acc uint64, have uint) error {
	ones := uint64(1)<<have - 1
	if have >= 8 || acc&ones != ones {
		return errHuffman
	}
	return nil
}

// huffmanLen is the length of b's code in bytes.
func huffmanLen(b []byte) int {
	bits := 0
	for _, c := range b {
		bits += int(huffmanLengths[c])
	}
	return (bits + 7) / 8
}

func appendHuffman(dst, b []byte) []byte {
	t := huffman
	var acc uint64
	have := uint(0)
	for _, c := range b {
		n := uint(huffmanLengths[c])
		acc = acc<<n | uint64(t.codes[c])
		for have += n; have >= 8; have -= 8 {
			dst = append(dst, byte(acc>>(have-8)))
		}
	}
	if have > 0 {
		dst = append(dst, byte(acc<<(8-have))|byte(1<<(8-have)-1))
	}
	return dst
}
