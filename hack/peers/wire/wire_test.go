package wire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

type stream struct {
	Conn int
	Dir  string
}

func recorded(t *testing.T, name string) map[stream][]byte {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[stream][]byte{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			stream
			Hex string
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(line.Hex)
		if err != nil {
			t.Fatal(err)
		}
		out[line.stream] = append(out[line.stream], b...)
	}
	return out
}

func TestRecordingsComeOutAsTheyWereWritten(t *testing.T) {
	cases := map[string]struct {
		file  string
		conn  int
		kinds map[string][]Kind
	}{
		"SOFABolt, Java": {"bolt_java.jsonl", 0, map[string][]Kind{
			"c2s": {Request, Oneway, Request, Request},
			"s2c": {Response, Response, Response},
		}},
		"SOFARPC, first client": {"sofarpc_to_java.jsonl", 0, map[string][]Kind{
			"c2s": {Request, Request, Request},
			"s2c": {Response, Response, Response},
		}},
		"SOFARPC, second client": {"sofarpc_to_java.jsonl", 1, map[string][]Kind{
			"c2s": {Request, Request, Request},
			"s2c": {Response, Response, Response},
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			streams := recorded(t, tc.file)
			for dir, want := range tc.kinds {
				raw := streams[stream{tc.conn, dir}]
				r := NewReader(iotest.OneByteReader(bytes.NewReader(raw)))
				var kinds []Kind
				var again []byte
				for {
					f, err := r.Next()
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Fatalf("%s: %v", dir, err)
					}
					kinds = append(kinds, f.Kind)
					again = Append(again, f)
				}
				if diff := cmp.Diff(want, kinds); diff != "" {
					t.Errorf("%s: kinds (-want +got):\n%s", dir, diff)
				}
				if !bytes.Equal(raw, again) {
					t.Errorf("%s: encoding the frames again changed the bytes", dir)
				}
			}
		})
	}
}

func TestServiceKeyOfARecordedRequest(t *testing.T) {
	f, _, err := Parse(recorded(t, "sofarpc_to_java.jsonl")[stream{0, "c2s"}])
	if err != nil {
		t.Fatal(err)
	}
	got, ok := Lookup(f.Header, "sofa_head_target_service")
	if !ok || !strings.Contains(got, ":1.0") {
		t.Errorf("service = %q, %v; want an interface with version 1.0", got, ok)
	}
	if v, ok := Lookup(f.Header, "no such key"); ok {
		t.Errorf("a key that is not there has the value %q", v)
	}
}

func TestParseRefuses(t *testing.T) {
	good := Append(nil, Frame{Kind: Request, Command: Call, Content: []byte("x")})
	cases := map[string]func([]byte) []byte{
		"another protocol":        func(b []byte) []byte { b[0] = 2; return b },
		"another command version": func(b []byte) []byte { b[4] = 2; return b },
		"an unknown type":         func(b []byte) []byte { b[1] = 7; return b },
		"a frame over the limit":  func(b []byte) []byte { b[18] = 0x7f; return b },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			if _, _, err := Parse(change(bytes.Clone(good))); err == nil || errors.Is(err, ErrShort) {
				t.Errorf("error = %v, want a refusal", err)
			}
		})
	}
	t.Run("version 2 of the recording", func(t *testing.T) {
		if _, _, err := Parse(recorded(t, "bolt_java.jsonl")[stream{1, "c2s"}]); err == nil {
			t.Error("a version 2 frame was taken for version 1")
		}
	})
}

func TestTheEndInsideAFrameIsAnError(t *testing.T) {
	whole := Append(nil, Frame{Kind: Request, Command: Call, Content: []byte("payload")})
	for n := 1; n < len(whole); n++ {
		if _, err := NewReader(bytes.NewReader(whole[:n])).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("after %d bytes: %v, want an unexpected EOF", n, err)
		}
	}
}

func TestContentFindsEveryChangedByte(t *testing.T) {
	id := Identity{Client: 1 << 60, Conn: 7, Seq: 99}
	request := AppendRequestContent(nil, id, []byte("some payload"))
	got, sum, err := ParseRequestContent(request)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(id, got); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	want := Reply{Identity: id, RequestSum: sum, Server: "ledger-0"}
	answer := AppendReplyContent(nil, want, []byte("answer"))
	reply, err := ParseReplyContent(answer)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, reply); diff != "" {
		t.Errorf("reply (-want +got):\n%s", diff)
	}
	for i := range request {
		b := bytes.Clone(request)
		b[i] ^= 0x20
		if _, _, err := ParseRequestContent(b); err == nil {
			t.Errorf("byte %d of a request changed and nobody noticed", i)
		}
	}
	for i := range answer {
		b := bytes.Clone(answer)
		b[i] ^= 0x20
		if _, err := ParseReplyContent(b); err == nil {
			t.Errorf("byte %d of an answer changed and nobody noticed", i)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Append(nil, Frame{Kind: Request, Command: Call, Timeout: -1, Content: []byte("x")}))
	f.Add(Append(nil, Frame{Kind: Response, Command: Answer, Status: 4}))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, n, err := Parse(b)
		if err != nil {
			return
		}
		if again := Append(nil, frame); !bytes.Equal(again, b[:n]) {
			t.Errorf("encoding what was parsed gives %x, not %x", again, b[:n])
		}
		Lookup(frame.Header, "service")
		if _, err := ParseReplyContent(frame.Content); err == nil && len(frame.Content) == 0 {
			t.Error("an empty content was taken for an answer")
		}
	})
}
