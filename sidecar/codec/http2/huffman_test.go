package http2

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"golang.org/x/net/http2/hpack"
)

func TestHuffmanIsThatOfOthers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range 2000 {
		text := make([]byte, n%90)
		for i := range text {
			if text[i] = byte(rnd.Uint32()); n%2 == 0 {
				text[i] = 'a' + text[i]%26
			}
		}
		want := hpack.AppendHuffmanString(nil, string(text))
		got := appendHuffman(nil, text)
		if !bytes.Equal(got, want) || huffmanLen(text) != len(want) {
			t.Fatalf("code of %q is %x in %d bytes, want %x", text, got, huffmanLen(text), want)
		}
		back, err := appendHuffmanDecoded(nil, got)
		if err != nil || !bytes.Equal(back, text) {
			t.Fatalf("%x decodes to %q, %v; want %q", got, back, err, text)
		}
	}
}

func TestHuffmanRefuses(t *testing.T) {
	cases := map[string][]byte{
		"zeros at the end":             {0x18}, // "a" ends with ones
		"a byte of padding":            {0x1f, 0xff},
		"the code for the end of text": {0xff, 0xff, 0xff, 0xff},
	}
	for name, b := range cases {
		if got, err := appendHuffmanDecoded(nil, b); err == nil {
			t.Errorf("%s: %x decodes to %q", name, b, got)
		}
		if _, err := hpack.HuffmanDecodeToString(b); err == nil {
			t.Errorf("%s: another decoder takes %x", name, b)
		}
	}
}

func FuzzHuffman(f *testing.F) {
	f.Add([]byte("www.example.com"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xfc})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := appendHuffmanDecoded(nil, b)
		want, wantErr := hpack.HuffmanDecodeToString(b)
		if (err == nil) != (wantErr == nil) || err == nil && string(got) != want {
			t.Fatalf("%x: %q, %v; another decoder says %q, %v", b, got, err, want, wantErr)
		}
	})
}
