package http2

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/axlemesh/axle/sidecar/codec/change"
)

// FuzzEdit changes any header list that a peer may send: the change is all that becomes of it, and it is sent and moved as it is.
func FuzzEdit(f *testing.F) {
	var e encoder
	var l Fields
	e.table.max = tableSize
	add(&l, []string{":method: GET", ":path: /api/a?b", ":authority: a", "x: y", "z: z", "x: 2"})
	block := e.append(nil, &l)
	for op := range uint8(4) {
		f.Add(block, "x", "v", op, "/p")
		f.Add(block, "w", "", op, "")
	}
	f.Fuzz(func(t *testing.T, block []byte, name, value string, op uint8, path string) {
		name = strings.ToLower(strings.TrimLeft(name, ":"))
		if name == "" || len(name)+len(value)+len(path) > 1000 {
			return
		}
		one := change.Field{Op: change.Op(op % 4), Name: name, Value: value}
		d := decoder{table{max: tableSize}}
		var l, moved, sent Fields
		if d.decode(block, &l) != nil || l.over {
			return
		}
		var want []string
		had := false
		for i := range l.list {
			n, v := l.Field(i)
			if string(n) == name {
				if had = true; one.Op.Removes() {
					continue
				}
			}
			want = append(want, string(n)+": "+string(v))
		}
		if one.Op != change.Remove && (one.Op != change.Absent || !had) {
			want = append(want, name+": "+value)
		}
		if l.Edit(Changes([]change.Field{one})); !slices.Equal(listed(&l), want) {
			t.Fatalf("%+v makes %q, want %q", one, listed(&l), want)
		}
		l.SetPath([]byte(path))
		if rest, err := moved.Parse(l.AppendBinary(nil)); err != nil || len(rest) > 0 || !slices.Equal(listed(&moved), listed(&l)) {
			t.Fatalf("%q moves as %q, %v", listed(&l), listed(&moved), err)
		}
		var e encoder
		e.table.max = tableSize
		there := decoder{table{max: tableSize}}
		for range 2 { // the second time out of tables
			sent.Reset()
			if err := there.decode(e.append(nil, &moved), &sent); err != nil || !sent.over && !slices.Equal(listed(&sent), listed(&l)) {
				t.Fatalf("%q is sent as %q, %v", listed(&l), listed(&sent), err)
			}
		}
	})
}

// FuzzUpgrade begins with the settings that came in a head of HTTP/1.1: they are what they would be in a frame, and what is accepted
// moves.
func FuzzUpgrade(f *testing.F) {
	f.Add([]byte{0, 3, 0, 0, 0, 100, 0, 4, 0, 1, 0, 0}, "/a")
	f.Add([]byte{0, 4, 0xff, 0xff, 0xff, 0xff}, "/")
	f.Add([]byte{0, 2, 0, 0, 0, 1, 0, 5, 0, 0, 0, 1}, "")
	f.Fuzz(func(t *testing.T, settings []byte, path string) {
		var request Fields
		for _, one := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", path}} {
			request.Add(one[0], one[1])
		}
		var c, framed, moved Conn
		_, s, err := c.Upgrade(nil, settings, &request)
		if framed.Start(false, nil); len(settings) <= maxFrame {
			b := binary.BigEndian.AppendUint32(append([]byte(Preface), byte(len(settings)>>16), byte(len(settings)>>8), byte(len(settings)), frameSettings, 0), 0)
			_, _, framedErr := run(&framed, append(b, settings...), &Turn{})
			if err == nil && framedErr != nil && framed.budget > 0 || err == nil && framedErr == nil &&
				(framed.peerStreams != c.peerStreams || framed.peerWindow != c.peerWindow || framed.peerTable != c.peerTable) {
				t.Fatalf("%x is %+v here, and %v or %+v in a frame", settings, c, framedErr, framed)
			}
		}
		if err != nil {
			return
		}
		if s == nil || c.Streams() != 1 {
			t.Fatal("the request is no stream")
		}
		state := c.AppendBinary(nil)
		if _, err := moved.Parse(state); err != nil || !bytes.Equal(moved.AppendBinary(nil), state) {
			t.Errorf("what was accepted does not move: %v", err)
		}
	})
}
