package dubbo_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/codec/dubbo"
)

func TestInvocationsOfOthers(t *testing.T) {
	want := map[string][]string{
		"dubbo_go c2s 0": {
			"2 com.lab.Greet SayHello 0s", "4 com.lab.Greet Plus 0s", "6 com.lab.Greet SayHello 0s", "8 com.lab.Greet SayHello 0s", "10 com.lab.Greet SayHello 0s",
		},
		"dubbo_java c2s 0": {
			"0 Rec$Shop greet 0s", "1 Rec$Shop greet 0s", "2 Rec$Shop greet 0s", "3 Rec$Shop greet 0s", "4 Rec$Shop plus 0s", "5 Rec$Shop tree 0s",
			"6 Rec$Shop bytes 0s", "7 Rec$Shop bytes 0s", "8 Rec$Shop any 0s", "9 Rec$Shop fail 0s",
		},
		"dubbo_java c2s 1": {
			"10 Rec$Shop:1.0.0@gray greet 0s user=ann", "11 Rec$Shop:1.0.0@gray greet 0s user=ann", "12 Rec$Shop:1.0.0@gray greet 0s user=ann",
			"14 Rec$Shop:1.0.0@gray greet 0s user=ann", "15 Rec$Shop:1.0.0@gray plus 0s user=ann", "16 Rec$Shop:1.0.0@gray tree 0s user=ann",
			"18 Rec$Shop:1.0.0@gray bytes 0s user=ann", "19 Rec$Shop:1.0.0@gray any 0s user=ann", "20 Rec$Shop:1.0.0@gray fail 0s user=ann",
		},
		"dubbo_java c2s 2": {"21 Rec$Shop:9.9 greet 0s user=ann"},
		"dubbo_java c2s 3": {"22 Rec$Shop plus 0s user=ann"},
		"dubbo_java c2s 4": {"23 Rec$Shop notify 0s user=ann"},
	}
	var in dubbo.Invocation
	streams := sessions(t)
	for key := range want {
		var got []string
		for _, f := range frames(t, streams[key]) {
			if f.Event() {
				continue
			}
			if err := in.Read(f); err != nil {
				t.Errorf("%s: request %d: %v", key, f.ID(), err)
			}
			line := fmt.Sprintf("%d %s %s %s", f.ID(), in.AppendKey(nil), in.Method, in.Timeout)
			if user, ok := in.Lookup("user"); ok {
				line += " user=" + string(user)
			}
			if path, ok := in.Lookup("interface"); !ok || string(path) != string(in.Path) {
				t.Errorf("%s: request %d: the attachment interface is %q, the path %q", key, f.ID(), path, in.Path)
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(want[key], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
}

// request is a request whose body is this, in hessian2.
func request(t testing.TB, body string) dubbo.Frame {
	t.Helper()
	b := []byte{0xda, 0xbb, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}
	f, err := dubbo.Next(append(b, body...))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// called is the body of a request of these types and what follows them.
func called(types, rest string) string {
	return "\x052.0.2\x01s\x0230\x01m" + string([]byte{0x30, byte(len(types))}) + types + rest
}

func repeat(s string, n int) (all string) {
	for range n {
		all += s
	}
	return all
}

func TestRead(t *testing.T) {
	type seen struct {
		Key, Method string
		Timeout     time.Duration
	}
	cases := map[string]struct {
		body string
		want seen
	}{
		"no arguments":                   {called("", "HZ"), seen{"s:30", "m", 0}},
		"no attachments at all":          {called("", "N"), seen{"s:30", "m", 0}},
		"a map with a type":              {called("", "M\x01x\x05group\x01gZ"), seen{"s:30@g", "m", 0}},
		"no version":                     {"\x052.0.2\x01s\x050.0.0\x01m\x00HZ", seen{"s", "m", 0}},
		"null for a version":             {"\x052.0.2\x01sN\x01m\x00HZ", seen{"s", "m", 0}},
		"a timeout as an int":            {called("", "H\x07timeout\xcb\xe8Z"), seen{"s:30", "m", time.Second}},
		"a timeout that is what is left": {called("", "H\x03_TO\x04\x31000Z"), seen{"s:30", "m", time.Second}},
		"a timeout of nothing":           {called("", "H\x07timeout\x03abcZ"), seen{"s:30", "m", 0}},
		"a timeout out of bounds":        {called("", "H\x07timeout\x1f9999999999999999999999999999999Z"), seen{"s:30", "m", 0}},
		"a timeout below zero":           {called("", "H\x07timeout\x8fZ"), seen{"s:30", "m", 0}},
		"objects as attachments":         {called("I", "\x90HC\x01c\x91\x01f`T\x03key\x01k`F\x05group\x01gZ"), seen{"s:30@g", "m", 0}},
		"every type":                     {called("BCDFIJSVZ[[I[Lx;", repeat("N", 11)+"H\x05group\x01gZ"), seen{"s:30@g", "m", 0}},
		"a generic invocation": {
			"\x052.0.2\x01s\x00\x07$invoke\x12Ljava/lang/String;\x04realH\x05group\x01gZ", seen{"s@g", "real", 0},
		},
		"a generic invocation of nothing": {"\x052.0.2\x01s\x00\x07$invoke\x12Ljava/lang/String;NHZ", seen{"s", "$invoke", 0}},
		"as deep as it may be":            {called("I", repeat("y", 32)+"N"+"H\x05group\x01gZ"), seen{"s:30@g", "m", 0}},
		"surrogates by themselves":        {called("I", "\x02\xed\xa0\xbd\xed\xb8\x80H\x05group\x01gZ"), seen{"s:30@g", "m", 0}},
		"a surrogate pair":                {called("I", "\x02\xf0\x9f\x98\x80H\x05group\x01gZ"), seen{"s:30@g", "m", 0}},
	}
	var in dubbo.Invocation
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := in.Read(request(t, tc.body))
			got := seen{string(in.AppendKey(nil)), string(in.Method), in.Timeout}
			if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	cases := map[string]struct {
		body string
		err  error // nil is a FormatError
	}{
		"nothing":                            {"", nil},
		"a name that is no string":           {"\x052.0.2\x91", nil},
		"a name in chunks":                   {"R\x00\x01x\x00\x01s\x00\x01m\x00HZ", nil},
		"an unknown type":                    {called("Q", "NHZ"), nil},
		"a type that does not end":           {called("Lx", "NHZ"), nil},
		"dimensions of nothing":              {called("[[", "NHZ"), nil},
		"an argument too few":                {called("II", "NHZ"), nil},
		"attachments that are a list":        {called("", "x"), nil},
		"attachments that do not end":        {called("", "H\x01a\x01b"), nil},
		"an end where a value has to be":     {called("I", "H\x01aZHZ"), nil},
		"an end of a list that has a length": {called("I", "yZHZ"), nil},
		"a list longer than the body":        {called("I", "XI\x7f\xff\xff\xffHZ"), nil},
		"a list shorter than nothing":        {called("I", "X\x8fHZ"), nil},
		"an object of an unknown class":      {called("I", "`HZ"), nil},
		"a class with more fields than body": {called("I", "C\x01cI\x00\x01\x00\x00`HZ"), nil},
		"a tag that nobody has":              {called("I", "@HZ"), nil},
		"half a character":                   {called("I", "\x01\xc3"), nil},
		"half a pair":                        {called("I", "\x01\xf0\x9f\x98\x80HZ"), nil},
		"no UTF-8":                           {called("I", "\x01\xffHZ"), nil},
		"deeper than it may be":              {called("I", repeat("y", 33)+"NHZ"), dubbo.ErrDeep},
		"too many classes":                   {called("I", repeat("C\x01c\x90", 257)+"NHZ"), dubbo.ErrClasses},
	}
	var in dubbo.Invocation
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := in.Read(request(t, tc.body))
			var format *dubbo.FormatError
			if tc.err == nil && !errors.As(err, &format) || tc.err != nil && !errors.Is(err, tc.err) {
				t.Errorf("got %v, want %v or a FormatError", err, tc.err)
			}
			if _, ok := in.Lookup("group"); ok {
				t.Error("there is an attachment")
			}
		})
	}
}

func TestOtherSerialisationsAreOpaque(t *testing.T) {
	b := dubbo.AppendHeartbeat(nil, 1)
	b[2] = 0xc3
	f, err := dubbo.Next(b)
	if err != nil {
		t.Fatal(err)
	}
	var in dubbo.Invocation
	if err := in.Read(f); !errors.Is(err, dubbo.ErrOpaque) {
		t.Errorf("got %v, want ErrOpaque", err)
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	var in dubbo.Invocation
	var key []byte
	for name, stream := range sessions(t) {
		for _, f := range frames(t, stream) {
			if f.Kind() == dubbo.Response || f.Event() {
				continue
			}
			if n := testing.AllocsPerRun(10, func() {
				if err := in.Read(f); err != nil {
					t.Fatal(err)
				}
				_, _ = in.Lookup("user")
				key = in.AppendKey(key[:0])
			}); n > 0 {
				t.Errorf("%s: request %d costs %.1f allocations", name, f.ID(), n)
			}
		}
	}
}

func BenchmarkRead(b *testing.B) {
	all := frames(b, sessions(b)["dubbo_java c2s 0"])
	for i, name := range map[int]string{0: "a short string", 2: "a string of 40000", 5: "objects", 6: "bytes of 9000"} {
		b.Run(name, func(b *testing.B) {
			var in dubbo.Invocation
			b.ReportAllocs()
			for b.Loop() {
				if err := in.Read(all[i]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
