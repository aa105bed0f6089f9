package dubbo_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/codec/dubbo"
)

// sessions reads recorded traffic: the bytes of each connection and direction.
func sessions(t testing.TB) map[string][]byte {
	t.Helper()
	streams := map[string][]byte{}
	for _, name := range []string{"dubbo_go", "dubbo_java"} {
		f, err := os.Open("testdata/" + name + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var line struct {
				Conn     int
				Dir, Hex string
			}
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				t.Fatal(err)
			}
			b, err := hex.DecodeString(line.Hex)
			if err != nil {
				t.Fatal(err)
			}
			key := fmt.Sprintf("%s %s %d", name, line.Dir, line.Conn)
			streams[key] = append(streams[key], b...)
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return streams
}

// frames cuts a stream into its frames.
func frames(t testing.TB, stream []byte) (all []dubbo.Frame) {
	t.Helper()
	for len(stream) > 0 {
		f, err := dubbo.Next(stream)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
		stream = stream[len(f.Bytes()):]
	}
	return all
}

func TestNextReadsWhatOthersWrite(t *testing.T) {
	type frame struct {
		Kind     dubbo.Kind
		ID       uint64
		Status   dubbo.Status
		Event    bool
		ReadOnly bool
	}
	want := map[string][]frame{
		"dubbo_go c2s 0":   {{Kind: dubbo.Request, ID: 2}, {Kind: dubbo.Request, ID: 4}, {Kind: dubbo.Request, ID: 6}, {Kind: dubbo.Request, ID: 8}, {Kind: dubbo.Request, ID: 10}},
		"dubbo_go s2c 0":   {{ID: 2, Status: 20}, {ID: 4, Status: 20}, {ID: 6, Status: 20}, {ID: 8, Status: 20}, {ID: 10, Status: 20}},
		"dubbo_java s2c 2": {{ID: 21, Status: 70}, {Kind: dubbo.Oneway, ID: 26, Event: true, ReadOnly: true}},
		"dubbo_java c2s 4": {{Kind: dubbo.Oneway, ID: 23}},
	}
	streams := sessions(t)
	for key := range want {
		var got []frame
		for _, f := range frames(t, streams[key]) {
			got = append(got, frame{f.Kind(), f.ID(), f.Status(), f.Event(), f.ReadOnly()})
			if f.Serialization() != dubbo.Hessian2 {
				t.Errorf("%s: frame %d has the serialisation %d", key, f.ID(), f.Serialization())
			}
		}
		if diff := cmp.Diff(want[key], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
}

func TestNextAtEveryOffset(t *testing.T) {
	for key, stream := range sessions(t) {
		for _, f := range frames(t, stream) {
			whole := f.Bytes()
			for n := range whole {
				if _, err := dubbo.Next(whole[:n]); !errors.Is(err, dubbo.ErrShort) {
					t.Fatalf("%s: the first %d of %d bytes: %v, want ErrShort", key, n, len(whole), err)
				}
			}
		}
	}
}

func TestNextRefuses(t *testing.T) {
	cases := map[string]struct {
		frame []byte
		field string
		at    int
	}{
		"another protocol":          {[]byte{1}, "magic", 0},
		"half of the magic":         {[]byte{0xda, 0xba}, "magic", 1},
		"a body larger than any":    {[]byte{0xda, 0xbb, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0x80, 0, 1}, "length", 12},
		"a length below zero":       {[]byte{0xda, 0xbb, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff}, "length", 12},
		"an event that is no event": {[]byte{0xda, 0xbb, 0xe2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4, 1}, "length of an event", 12},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := dubbo.Next(tc.frame)
			var format *dubbo.FormatError
			if !errors.As(err, &format) || format.Field != tc.field || format.Offset != tc.at {
				t.Errorf("got %v, want a FormatError of %s at %d", err, tc.field, tc.at)
			}
		})
	}
}

func TestSetIDChangesNothingElse(t *testing.T) {
	for key, stream := range sessions(t) {
		for _, f := range frames(t, stream) {
			before, id := bytes.Clone(f.Bytes()), f.ID()
			f.SetID(0xfedcba9876543210)
			if f.ID() != 0xfedcba9876543210 || bytes.Equal(f.Bytes(), before) {
				t.Errorf("%s: frame %d has the id %x", key, id, f.ID())
			}
			if f.SetID(id); !bytes.Equal(f.Bytes(), before) {
				t.Errorf("%s: the old id of %d does not give the old frame", key, id)
			}
		}
	}
}

// TestAnswersAreTheReferences compares with what Java answers.
func TestAnswersAreTheReferences(t *testing.T) {
	streams := sessions(t)
	asked := map[uint64]dubbo.Frame{}
	for _, f := range frames(t, streams["dubbo_java c2s 1"]) {
		asked[f.ID()] = f
	}
	acks := 0
	for _, f := range frames(t, streams["dubbo_java s2c 1"]) {
		if f.Event() && f.Kind() == dubbo.Response {
			acks++
			if got := asked[f.ID()].AppendAck(nil); !bytes.Equal(got, f.Bytes()) {
				t.Errorf("our answer to a heartbeat is % x, Java's % x", got, f.Bytes())
			}
			if got := dubbo.AppendHeartbeat(nil, f.ID()); !bytes.Equal(got, asked[f.ID()].Bytes()) {
				t.Errorf("our heartbeat is % x, Java's % x", got, asked[f.ID()].Bytes())
			}
		}
	}
	if acks < 5 {
		t.Errorf("saw %d heartbeats", acks)
	}
	want := "\xda\xbb\x02\x3c\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x09\x30\x07nothing"
	if got := dubbo.AppendError(nil, 1<<32+2, dubbo.StatusServiceNotFound, "nothing"); string(got) != want {
		t.Errorf("an error is %q, want %q", got, want)
	}
	long, err := dubbo.Next(dubbo.AppendError(nil, 1, dubbo.StatusBadRequest, string(make([]byte, 3000))))
	if err != nil || len(long.Bytes()) != 16+2+1023 {
		t.Errorf("an error with a long message has %d bytes, %v", len(long.Bytes()), err)
	}
}

func TestReadOnlyIsAnEventThatAsks(t *testing.T) {
	cases := map[string]struct {
		flags byte
		body  string
		want  bool
	}{
		"hessian2":    {0xa2, "\x01R", true},
		"JSON":        {0xa6, "\"R\"\n", true},
		"a heartbeat": {0xe2, "N", false},
		"an answer":   {0x22, "\x01R", false},
		"a request":   {0x82, "\x01R", false},
		"writeable":   {0xa2, "\x01W", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := append([]byte{0xda, 0xbb, tc.flags, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, byte(len(tc.body))}, tc.body...)
			f, err := dubbo.Next(b)
			if err != nil || f.ReadOnly() != tc.want {
				t.Errorf("ReadOnly is %v, %v, want %v", f.ReadOnly(), err, tc.want)
			}
		})
	}
}

func FuzzNext(f *testing.F) {
	for _, stream := range sessions(f) {
		f.Add(stream[:min(len(stream), 2000)])
	}
	f.Add(dubbo.AppendHeartbeat(nil, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, before := b, bytes.Clone(b)
		var in dubbo.Invocation
		for len(b) > 0 {
			f, err := dubbo.Next(b)
			if err != nil {
				break
			}
			b = b[len(f.Bytes()):]
			if f.Kind() != dubbo.Response {
				_ = in.Read(f)
			}
			id := f.ID()
			f.SetID(^id)
			if g, err := dubbo.Next(f.Bytes()); err != nil || g.ID() != ^id {
				t.Fatalf("after SetID: id %d, %v", g.ID(), err)
			}
			f.SetID(id)
			if ack, err := dubbo.Next(f.AppendAck(nil)); f.Event() && (err != nil || ack.ID() != id || ack.Kind() != dubbo.Response || !ack.Event()) {
				t.Fatalf("the answer to event %d cannot be read: %v", id, err)
			}
		}
		if !bytes.Equal(all, before) {
			t.Fatal("bytes were changed")
		}
	})
}
