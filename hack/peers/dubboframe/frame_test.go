package dubboframe

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFramesComeBack(t *testing.T) {
	cases := map[string]struct {
		frame Frame
		head  string
	}{
		"a call":             {Frame{Request: true, TwoWay: true, ID: 0x0102030405060708, Body: []byte("body")}, "dabbc200010203040506070800000004"},
		"an answer":          {Frame{Status: OK, ID: 7, Body: []byte("b")}, "dabb0214000000000000000700000001"},
		"a heartbeat's echo": {Heartbeat(9), "dabb2214000000000000000900000001"},
		"a oneway":           {Frame{Request: true, ID: 1, Body: []byte{}}, "dabb8200000000000000000100000000"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := Append(nil, tc.frame)
			if got := hex.EncodeToString(b[:Head]); got != tc.head {
				t.Errorf("head %s, want %s", got, tc.head)
			}
			got, n, err := Parse(append(b, "more"...))
			if err != nil || n != len(b) {
				t.Fatalf("%d bytes of %d, %v", n, len(b), err)
			}
			if diff := cmp.Diff(tc.frame, got); diff != "" {
				t.Errorf("frame (-want +got):\n%s", diff)
			}
			for i := range b {
				if _, _, err := Parse(b[:i]); !errors.Is(err, ErrShort) {
					t.Fatalf("%d bytes: %v", i, err)
				}
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	cases := map[string]struct{ head, want string }{
		"another protocol":      {"0101c200000000000000000100000000", "magic"},
		"another serialisation": {"dabbc600000000000000000100000000", "serialisation is 6"},
		"a frame that is large": {"dabbc2000000000000000001ffffffff", "limit"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b, err := hex.DecodeString(tc.head)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := Parse(b); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one about %q", err, tc.want)
			}
		})
	}
}

func TestCallsComeBack(t *testing.T) {
	for _, size := range []int{0, 1, 15, 16, 1023, 1024, MaxArgument} {
		call := Call{Path: "com.axlemesh.bench.Echo", Version: "1.0", Method: strings.Repeat("m", size%2000), Argument: bytes.Repeat([]byte{'x'}, size)}
		b := AppendCall(nil, call)
		got, err := ParseCall(b)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if diff := cmp.Diff(call, got); diff != "" {
			t.Errorf("%d bytes (-want +got):\n%s", size, diff)
		}
		value, err := ParseValue(AppendValue(nil, call.Argument))
		if err != nil || !bytes.Equal(value, call.Argument) {
			t.Errorf("a value of %d bytes came back with %d, %v", size, len(value), err)
		}
	}
}

func TestBodiesThatAreCutAreRefused(t *testing.T) {
	call := AppendCall(nil, Call{Path: "p", Version: "1", Method: "m", Argument: make([]byte, 1024)})
	for i := range call {
		if _, err := ParseCall(call[:i]); err == nil {
			t.Errorf("a call of %d bytes of %d is taken", i, len(call))
		}
	}
	value := AppendValue(nil, make([]byte, 100))
	for i := range value {
		if _, err := ParseValue(value[:i]); err == nil {
			t.Errorf("a value of %d bytes of %d is taken", i, len(value))
		}
	}
	for name, b := range map[string][]byte{"null": {0x92}, "more behind": append(value, 0)} {
		if _, err := ParseValue(b); err == nil {
			t.Errorf("%s is taken for a value", name)
		}
	}
}
