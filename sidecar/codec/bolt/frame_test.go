package bolt_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/codec/bolt"
)

// sessions reads recorded traffic of the reference implementations: the bytes of each connection and direction.
func sessions(t testing.TB, file string) map[string][]byte {
	t.Helper()
	f, err := os.Open("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	streams := map[string][]byte{}
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
		key := file + " " + line.Dir + " " + string(rune('0'+line.Conn))
		streams[key] = append(streams[key], b...)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return streams
}

func allV1(t testing.TB) map[string][]byte {
	t.Helper()
	v1 := map[string][]byte{}
	for _, file := range []string{"bolt_java.jsonl", "sofarpc_to_java.jsonl"} {
		for key, b := range sessions(t, file) {
			if b[0] == 1 {
				v1[key] = b
			}
		}
	}
	return v1
}

func TestNextReadsWhatTheReferenceWrites(t *testing.T) {
	type frame struct {
		Kind    bolt.Kind
		ID      uint32
		Timeout time.Duration
		Status  bolt.Status
		Service string
		Method  string
	}
	got := map[string][]frame{}
	for key, b := range allV1(t) {
		for len(b) > 0 {
			f, err := bolt.Next(b)
			if err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			r := frame{Kind: f.Kind(), ID: f.ID()}
			if f.Kind() == bolt.Response {
				r.Status = f.Status()
			} else {
				r.Timeout = f.Timeout()
				r.Service, r.Method = string(f.Key().Service), string(f.Key().Method)
			}
			got[key] = append(got[key], r)
			b = b[len(f.Bytes()):]
		}
	}
	want := map[string][]frame{
		"bolt_java.jsonl c2s 0": {
			{Kind: bolt.Request, ID: 1, Timeout: 3 * time.Second}, {Kind: bolt.Oneway, ID: 2},
			{Kind: bolt.Request, ID: 3, Timeout: 3 * time.Second}, {Kind: bolt.Request, ID: 4, Timeout: 3 * time.Second},
		},
		"bolt_java.jsonl s2c 0": {{ID: 1}, {ID: 3, Status: 2}, {ID: 4, Status: 2}},
	}
	for key := range want {
		if diff := cmp.Diff(want[key], got[key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	for key, frames := range got {
		for _, f := range frames {
			if key[:8] == "sofarpc_" && f.Kind == bolt.Request && f.Service == "" { // the Node.js client names no method
				t.Errorf("%s: request %d names no service: %+v", key, f.ID, f)
			}
		}
	}
	if len(got) != 6 {
		t.Errorf("read %d streams, want 6", len(got))
	}
}

func TestNextAtEveryOffset(t *testing.T) {
	for key, b := range allV1(t) {
		first, err := bolt.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		whole := len(first.Bytes())
		for n := range whole {
			if _, err := bolt.Next(b[:n]); !errors.Is(err, bolt.ErrShort) {
				t.Errorf("%s: the first %d of %d bytes: %v, want ErrShort", key, n, whole, err)
			}
			if need := bolt.Need(b[:n]); need != 0 && need != whole {
				t.Errorf("%s: after %d bytes Need = %d, want %d", key, n, need, whole)
			}
		}
	}
}

func TestNextRefuses(t *testing.T) {
	request := bolt.AppendHeartbeat(nil, 7, 1000)
	cases := map[string]struct {
		at    int
		value byte
		field string
	}{
		"another protocol": {0, 'G', "protocol"},
		"version 3":        {0, 3, "protocol"},
		"an unknown type":  {1, 3, "type"},
		"a class length that is negative in Java":  {14, 0x80, "class length"},
		"a header length that is negative in Java": {16, 0x80, "header length"},
		"a content larger than any":                {18, 0x10, "content length"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := bytes.Clone(request)
			b[tc.at] = tc.value
			_, err := bolt.Next(b)
			var format *bolt.FormatError
			if !errors.As(err, &format) || format.Field != tc.field || format.Offset != tc.at {
				t.Errorf("got %v, want a FormatError of %s at %d", err, tc.field, tc.at)
			}
		})
	}
}

func TestReplies(t *testing.T) {
	cases := map[string]struct {
		frame     []byte
		heartbeat bool
		status    bolt.Status
	}{
		"heartbeat ack": {bolt.AppendHeartbeatAck(nil, 9, 1), true, bolt.StatusOK},
		"error reply":   {bolt.AppendReply(nil, 9, 11, bolt.StatusServerBusy), false, bolt.StatusServerBusy},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f, err := bolt.Next(tc.frame)
			if err != nil {
				t.Fatal(err)
			}
			if f.Kind() != bolt.Response || f.ID() != 9 || f.Heartbeat() != tc.heartbeat || f.Status() != tc.status {
				t.Errorf("kind %d id %d heartbeat %v status %d", f.Kind(), f.ID(), f.Heartbeat(), f.Status())
			}
		})
	}
}

func FuzzNext(f *testing.F) {
	for _, b := range allV1(f) {
		f.Add(b)
	}
	for _, b := range allV2(f) {
		f.Add(b)
	}
	for v := bolt.V1; v <= bolt.V2CRC; v++ {
		f.Add(v.AppendHeartbeat(nil, 1, 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := bytes.Clone(b)
		for len(b) > 0 {
			f, err := bolt.Next(b)
			if err != nil {
				break
			}
			if need := bolt.Need(b); need != len(f.Bytes()) {
				t.Fatalf("Need = %d, the frame has %d bytes", need, len(f.Bytes()))
			}
			k := f.Key()
			if m, _ := f.Lookup("sofa_head_method_name"); !bytes.Equal(m, k.Method) {
				t.Fatalf("Lookup finds the method %q, Key %q", m, k.Method)
			}
			id := f.ID()
			f.SetID(^id)
			if g, err := bolt.Next(b); err != nil || g.ID() != ^id {
				t.Fatalf("after SetID: id %d, %v", f.ID(), err)
			}
			f.SetID(id)
			b = b[len(f.Bytes()):]
		}
		if len(b) > 0 {
			whole = whole[len(whole)-len(b):]
			if !bytes.Equal(whole, b) {
				t.Fatal("bytes behind the last frame were changed")
			}
		}
	})
}

func BenchmarkNextAndKey(b *testing.B) {
	stream := sessions(b, "sofarpc_to_java.jsonl")["sofarpc_to_java.jsonl c2s 0"]
	b.ReportAllocs()
	for b.Loop() {
		f, err := bolt.Next(stream)
		if err != nil || len(f.Key().Service) == 0 {
			b.Fatal("no key")
		}
	}
}
