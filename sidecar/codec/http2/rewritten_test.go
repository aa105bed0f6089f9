package http2

import "testing"

// TestARewrittenValueIsAnotherField: the encoder must not take it for the one that it had before.
func TestARewrittenValueIsAnotherField(t *testing.T) {
	var first, f Fields
	var block encoder
	block.table.max = tableSize
	d := decoder{}
	d.table.max = tableSize
	read := func(value string, into *Fields) {
		t.Helper()
		b := appendLiteral(nil, 0x40, 6, 0, []byte("traceparent"), []byte(value))
		if _, err := d.literal(b[:], 6, modeIndexed, into); err != nil {
			t.Fatal(err)
		}
	}
	read("aaaa", &first)
	read("aaaa", &f)
	_, value := f.Field(0)
	copy(value, "bbbb")
	f.Rewritten()
	if f.list[0].hash == first.list[0].hash || f.list[0].hash != hash([]byte("traceparent"), []byte("bbbb")) {
		t.Errorf("hash %x, before %x", f.list[0].hash, first.list[0].hash)
	}
	if n, again := len(block.append(nil, &f)), len(block.append(nil, &f)); again >= n || again > 2 {
		t.Errorf("%d bytes, then %d: the second should be an index", n, again)
	}
	if n := len(block.append(nil, &first)); n < 8 {
		t.Errorf("the first value is taken for the second: %d bytes", n)
	}
}
