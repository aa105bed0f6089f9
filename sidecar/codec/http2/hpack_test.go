package http2

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"
)

// listed are the fields of f as text.
func listed(f *Fields) []string {
	var all []string
	for i := range f.list {
		name, value := f.Field(i)
		all = append(all, string(name)+": "+string(value))
	}
	return all
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDecodeTheExamplesOfTheRFC reads the three requests of RFC 7541 appendix C.4, which build on each other.
func TestDecodeTheExamplesOfTheRFC(t *testing.T) {
	d := decoder{table{max: tableSize}}
	cases := []struct {
		block string
		want  []string
		size  int
	}{
		{"8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", []string{":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"}, 57},
		{"8286 84be 5886 a8eb 1064 9cbf", []string{":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"}, 110},
		{"8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", []string{":method: GET", ":scheme: https", ":path: /index.html", ":authority: www.example.com", "custom-key: custom-value"}, 164},
	}
	for i, tc := range cases {
		var f Fields
		if err := d.decode(unhex(t, tc.block), &f); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, listed(&f)); diff != "" || d.table.size != tc.size {
			t.Errorf("request %d: table of %d bytes, want %d; fields (-want +got):\n%s", i, d.table.size, tc.size, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	cases := map[string]string{
		"index 0":                             "80",
		"an index behind the tables":          "be",
		"a name that is in no table":          "7f00 01 61",
		"a value that is cut off":             "4001 6105 6162",
		"a number that never ends":            "ffff ffff ffff ff01",
		"a number that is cut off":            "ff80",
		"a table size above what was allowed": "3fe2 1f",
		"a table size behind a field":         "82 20",
		"a string that is no Huffman code":    "0001 6184 ffff ffff",
		"a literal without a value":           "0001 61",
	}
	for name, block := range cases {
		d := decoder{table{max: tableSize}}
		var f Fields
		if err := d.decode(unhex(t, block), &f); err == nil {
			t.Errorf("%s: %s decodes to %q", name, block, listed(&f))
		}
	}
}

// randomFields makes lists whose fields come again often.
func randomFields(rnd *rand.Rand) []hpack.HeaderField {
	var all []hpack.HeaderField
	for range 1 + rnd.IntN(12) {
		h := hpack.HeaderField{Name: fmt.Sprintf("name-%d", rnd.IntN(40)), Value: fmt.Sprint(rnd.IntN(6))}
		switch rnd.IntN(8) {
		case 0:
			h.Name, h.Value = ":path", fmt.Sprintf("/%d", rnd.IntN(9))
		case 1:
			h.Sensitive = true
		case 2:
			h.Value = strings.Repeat("long ", rnd.IntN(900))
		case 3:
			h.Name, h.Value = ":status", "200"
		}
		all = append(all, h)
	}
	return all
}

// TestBlocksAreUnderstood sends lists from another encoder through our decoder and encoder to another decoder, while table
// sizes change and our encoder is started again.
func TestBlocksAreUnderstood(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var wire bytes.Buffer
	in := hpack.NewEncoder(&wire)
	d := decoder{table{max: tableSize}}
	e := encoder{table: table{max: tableSize}}
	out := hpack.NewDecoder(tableSize, nil)
	saved := 0
	for n := range 3000 {
		switch rnd.IntN(60) {
		case 0:
			in.SetMaxDynamicTableSize(uint32(rnd.IntN(tableSize)))
		case 1:
			e.resize(rnd.IntN(2 * tableSize))
		case 2:
			e.restart(tableSize)
		}
		list := randomFields(rnd)
		wire.Reset()
		for _, h := range list {
			if err := in.WriteField(h); err != nil {
				t.Fatal(err)
			}
		}
		var f Fields
		if err := d.decode(wire.Bytes(), &f); err != nil {
			t.Fatalf("list %d: %v", n, err)
		}
		kept := f.AppendBinary(nil)
		if n%3 == 0 {
			if rest, err := f.Parse(kept); err != nil || len(rest) > 0 {
				t.Fatalf("list %d: parse: %v, %d bytes left", n, err, len(rest))
			}
		}
		block := e.append(nil, &f)
		got, err := out.DecodeFull(block)
		if err != nil {
			t.Fatalf("list %d: another decoder: %v", n, err)
		}
		if diff := cmp.Diff(list, got); diff != "" {
			t.Fatalf("list %d (-want +got):\n%s", n, diff)
		}
		saved += f.size - len(block)
	}
	if saved <= 0 {
		t.Error("the encoder makes blocks larger than their lists")
	}
}

// TestAHeaderBomb has a small block stand for a large list.
func TestAHeaderBomb(t *testing.T) {
	d := decoder{table{max: tableSize}}
	block := appendLiteral(nil, 0x40, 6, 0, []byte("a"), bytes.Repeat([]byte("x"), 3000))
	for range 30 {
		block = append(block, 0xbe)
	}
	var f Fields
	if err := d.decode(block, &f); err != nil || !f.Over() || len(f.bytes) > maxList {
		t.Errorf("a list of %d bytes: %v, over %t, %d bytes kept", f.size, err, f.Over(), len(f.bytes))
	}
	f.Reset()
	if err := d.decode(bytes.Repeat([]byte{0xbe}, maxBlock), &f); !errors.Is(err, errBomb) {
		t.Errorf("a list of %d bytes: %v", f.size, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff})
	f.Add([]byte{0x20, 0x3f, 0xe1, 0x1f, 0x40, 0x01, 0x61, 0x01, 0x62, 0xbe, 0x7e, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := decoder{table{max: tableSize}}
		var fields Fields
		err := d.decode(b, &fields)
		want, wantErr := hpack.NewDecoder(tableSize, nil).DecodeFull(b)
		ours := errors.Is(err, errBomb) || errors.Is(err, errNumber) || errors.Is(err, errResize) // where we are stricter
		if (err == nil) != (wantErr == nil) && !ours {
			t.Fatalf("%x: %v, another decoder says %v", b, err, wantErr)
		}
		if err != nil || wantErr != nil || fields.Over() {
			return
		}
		for i, h := range want {
			if name, value := fields.Field(i); string(name) != h.Name || string(value) != h.Value {
				t.Fatalf("%x: field %d is %q: %q, another decoder says %q: %q", b, i, name, value, h.Name, h.Value)
			}
		}
		e := encoder{table: table{max: tableSize}}
		if again, err := hpack.NewDecoder(tableSize, nil).DecodeFull(e.append(nil, &fields)); err != nil || len(again) != len(want) {
			t.Fatalf("%x: what is encoded again has %d fields, %v; want %d", b, len(again), err, len(want))
		}
	})
}
