package bolt_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/codec/bolt"
)

func allV2(t testing.TB) map[string][]byte {
	t.Helper()
	v2 := map[string][]byte{}
	for key, b := range sessions(t, "bolt_java.jsonl") {
		if b[0] == 2 {
			v2[key] = b
		}
	}
	return v2
}

// frames cuts a stream into its frames.
func frames(t testing.TB, stream []byte) (all []bolt.Frame) {
	t.Helper()
	for len(stream) > 0 {
		f, err := bolt.Next(stream)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
		stream = stream[len(f.Bytes()):]
	}
	return all
}

func TestNextReadsVersion2(t *testing.T) {
	got := map[string][]string{}
	for key, b := range allV2(t) {
		for _, f := range frames(t, b) {
			line := fmt.Sprintf("version %d kind %d id %d", f.Version(), f.Kind(), f.ID())
			if f.Kind() == bolt.Response {
				line += fmt.Sprintf(" status %d", f.Status())
			} else {
				line += fmt.Sprintf(" timeout %s", f.Timeout())
			}
			got[key] = append(got[key], line)
		}
	}
	want := map[string][]string{
		"bolt_java.jsonl c2s 1": {
			"version 1 kind 1 id 5 timeout 3s", "version 1 kind 2 id 6 timeout 0s", "version 1 kind 1 id 7 timeout 3s",
			"version 1 kind 1 id 8 timeout 3s",
		},
		"bolt_java.jsonl s2c 1": {
			"version 1 kind 0 id 5 status 0", "version 1 kind 0 id 7 status 2", "version 1 kind 0 id 8 status 2",
		},
		"bolt_java.jsonl c2s 2": {
			"version 3 kind 1 id 9 timeout 3s", "version 3 kind 2 id 10 timeout 0s", "version 3 kind 1 id 11 timeout 3s",
			"version 3 kind 1 id 12 timeout 3s",
		},
		"bolt_java.jsonl s2c 2": { // errors of the server carry no checksum
			"version 3 kind 0 id 9 status 0", "version 2 kind 0 id 11 status 2", "version 2 kind 0 id 12 status 2",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
}

func TestVersion2AtEveryOffset(t *testing.T) {
	for key, b := range allV2(t) {
		for _, f := range frames(t, b) {
			whole := f.Bytes()
			for n := range whole {
				if _, err := bolt.Next(whole[:n]); !errors.Is(err, bolt.ErrShort) {
					t.Errorf("%s: the first %d of %d bytes: %v, want ErrShort", key, n, len(whole), err)
				}
				if need := bolt.Need(whole[:n]); need != 0 && need != len(whole) {
					t.Errorf("%s: after %d bytes Need = %d, want %d", key, n, need, len(whole))
				}
			}
		}
	}
}

func TestVersion2Refuses(t *testing.T) {
	cases := map[string]struct {
		version bolt.Version
		at      int
		value   byte
		field   string
		offset  int
	}{
		"a second byte of 0":                       {bolt.V2, 1, 0, "version", 1},
		"a second byte of 3":                       {bolt.V2, 1, 3, "version", 1},
		"an unknown type":                          {bolt.V2, 2, 3, "type", 2},
		"a class length that is negative in Java":  {bolt.V2Plain, 16, 0x80, "class length", 16},
		"a header length that is negative in Java": {bolt.V2Plain, 18, 0x80, "header length", 18},
		"a content larger than any":                {bolt.V2CRC, 20, 0x10, "content length", 20},
		"a changed id under a checksum":            {bolt.V2CRC, 8, 1, "checksum", 24},
		"a changed checksum":                       {bolt.V2CRC, 27, 1, "checksum", 24},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := tc.version.AppendHeartbeat(nil, 7, 1000)
			b[tc.at] ^= tc.value
			if tc.field != "checksum" {
				b[tc.at] = tc.value
			}
			_, err := bolt.Next(b)
			var format *bolt.FormatError
			if !errors.As(err, &format) || format.Field != tc.field || format.Offset != tc.offset {
				t.Errorf("got %v, want a FormatError of %s at %d", err, tc.field, tc.offset)
			}
		})
	}
}

// TestSetIDKeepsTheChecksum compares with a checksum computed here.
func TestSetIDKeepsTheChecksum(t *testing.T) {
	sums := 0
	for key, stream := range allV2(t) {
		for _, f := range frames(t, stream) {
			before := bytes.Clone(f.Bytes())
			id := f.ID()
			f.SetID(0xdeadbeef)
			want := bytes.Clone(before)
			binary.BigEndian.PutUint32(want[6:], 0xdeadbeef)
			if f.Version() == bolt.V2CRC {
				sums++
				binary.BigEndian.PutUint32(want[len(want)-4:], crc32.ChecksumIEEE(want[:len(want)-4]))
			}
			if !bytes.Equal(f.Bytes(), want) {
				t.Errorf("%s: id %d: another id changed more or less than the id and the checksum", key, id)
			}
			copied := append(bytes.Clone(before), "the next frame"...)
			if bolt.PutID(copied, 0xdeadbeef); !bytes.Equal(copied, append(want, "the next frame"...)) {
				t.Errorf("%s: id %d: PutID and SetID differ", key, id)
			}
			if f.SetID(id); !bytes.Equal(f.Bytes(), before) {
				t.Errorf("%s: id %d: the old id does not give the old frame", key, id)
			}
		}
	}
	if sums != 5 {
		t.Errorf("saw %d checksums, want 5", sums)
	}
}

// TestAnswersRepeatTheForm answers every recorded request of every version.
func TestAnswersRepeatTheForm(t *testing.T) {
	streams := allV1(t)
	maps.Copy(streams, allV2(t))
	answered := map[bolt.Version]int{}
	for key, stream := range streams {
		for _, f := range frames(t, stream) {
			if f.Kind() != bolt.Request {
				continue
			}
			answered[f.Version()]++
			both := f.Reply().AppendStatus([]byte("before"), bolt.StatusServerBusy)
			both = f.Reply().AppendHeartbeatAck(both)
			for i, a := range frames(t, both[len("before"):]) {
				status := []bolt.Status{bolt.StatusServerBusy, bolt.StatusOK}[i]
				if a.Kind() != bolt.Response || a.Reply() != f.Reply() || a.Status() != status || a.Heartbeat() != (i == 1) {
					t.Errorf("%s: request %+v got %+v, status %d", key, f.Reply(), a.Reply(), a.Status())
				}
			}
		}
	}
	if answered[bolt.V1] == 0 || answered[bolt.V2] == 0 || answered[bolt.V2CRC] == 0 {
		t.Errorf("answered %v", answered)
	}
}

func TestHeartbeatsHaveEveryForm(t *testing.T) {
	for v := bolt.V1; v <= bolt.V2CRC; v++ {
		f, err := bolt.Next(v.AppendHeartbeat(nil, 5, 1500))
		if err != nil || f.Version() != v || !f.Heartbeat() || f.Kind() != bolt.Request || f.ID() != 5 || f.Timeout().Milliseconds() != 1500 {
			t.Errorf("version %d: %+v, %v", v, f.Reply(), err)
		}
	}
}

func BenchmarkSetID(b *testing.B) {
	for _, version := range []bolt.Version{bolt.V1, bolt.V2, bolt.V2CRC} {
		b.Run(fmt.Sprint("version ", version), func(b *testing.B) {
			f, err := bolt.Next(version.AppendHeartbeat(nil, 1, 0))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				f.SetID(2)
			}
		})
	}
}

// TestAppendAs translates every recorded frame into every form and back.
func TestAppendAs(t *testing.T) {
	streams := allV1(t)
	maps.Copy(streams, allV2(t))
	for key, stream := range streams {
		for _, f := range frames(t, stream) {
			for v := bolt.V1; v <= bolt.V2CRC; v++ {
				b := f.AppendAs([]byte("before"), v)[len("before"):]
				g, err := bolt.Next(b)
				if err != nil || len(g.Bytes()) != len(b) {
					t.Fatalf("%s: %+v as version %d: %v", key, f.Reply(), v, err)
				}
				if !g.Suits(v) || (g.Version() == bolt.V2CRC) != (f.Version() == bolt.V2CRC && v >= bolt.V2Plain) {
					t.Errorf("%s: a frame of version %d is in version %d for a reader of %d", key, f.Version(), g.Version(), v)
				}
				if g.Kind() != f.Kind() || g.ID() != f.ID() || g.Codec() != f.Codec() || !bytes.Equal(g.Header(), f.Header()) ||
					g.Heartbeat() != f.Heartbeat() || g.Kind() == bolt.Response && g.Status() != f.Status() ||
					g.Kind() != bolt.Response && g.Timeout() != f.Timeout() {
					t.Errorf("%s: %+v as version %d is %+v", key, f.Reply(), v, g.Reply())
				}
				if f.Version() < bolt.V2CRC && !f.Suits(v) {
					if back := g.AppendAs(nil, f.Version()); !bytes.Equal(back, withoutSwitch(f)) {
						t.Errorf("%s: %+v as version %d and back is another frame", key, f.Reply(), v)
					}
				}
			}
		}
	}
}

// withoutSwitch is the frame with its switch off, which says nothing where there is no checksum.
func withoutSwitch(f bolt.Frame) []byte {
	b := bytes.Clone(f.Bytes())
	if f.Version() == bolt.V2 {
		b[11] = 0
	}
	return b
}
