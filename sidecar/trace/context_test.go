package trace

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	traceText = "0af7651916cd43dd8448eb211c80319c"
	spanText  = "b7ad6b7169203331"
	otherText = "05e3ac9a4f6e3b90"
)

func idOf(t *testing.T, s string) (id ID) {
	t.Helper()
	if !digits(id[:], []byte(s)) {
		t.Fatalf("%q is no id", s)
	}
	return id
}

func spanOf(t *testing.T, s string) (id SpanID) {
	t.Helper()
	if !digits(id[:], []byte(s)) {
		t.Fatalf("%q is no id", s)
	}
	return id
}

func TestParseTraceparent(t *testing.T) {
	whole := "00-" + traceText + "-" + spanText
	cases := map[string]struct {
		v    string
		want Decision
		ok   bool
	}{
		"sampled":                          {whole + "-01", Record, true},
		"not sampled":                      {whole + "-00", Drop, true},
		"another flag too":                 {whole + "-03", Record, true},
		"another flag alone":               {whole + "-02", Drop, true},
		"a later version":                  {"cc" + whole[2:] + "-01", Record, true},
		"a later version with more":        {"cc" + whole[2:] + "-01-more", Record, true},
		"a later version that runs on":     {"cc" + whole[2:] + "-01more", 0, false},
		"the first version with more":      {whole + "-01-more", 0, false},
		"the version that nobody has":      {"ff" + whole[2:] + "-01", 0, false},
		"capitals":                         {"00-" + strings.ToUpper(traceText) + "-" + spanText + "-01", 0, false},
		"no flags":                         {whole, 0, false},
		"half a flag":                      {whole + "-1", 0, false},
		"a trace of zeros":                 {"00-" + strings.Repeat("0", 32) + "-" + spanText + "-01", 0, false},
		"a span of zeros":                  {"00-" + traceText + "-" + strings.Repeat("0", 16) + "-01", 0, false},
		"something else between the ids":   {"00-" + traceText + "_" + spanText + "-01", 0, false},
		"no digit":                         {"00-" + traceText[:31] + "g-" + spanText + "-01", 0, false},
		"nothing":                          {"", 0, false},
		"as long, and nothing of the sort": {strings.Repeat("-", 55), 0, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			want := Parent{}
			if tc.ok {
				want = Parent{Trace: idOf(t, traceText), Span: spanOf(t, spanText), Sampled: tc.want}
			}
			got, ok := ParseTraceparent([]byte(tc.v))
			if diff := cmp.Diff(want, got); ok != tc.ok || diff != "" {
				t.Errorf("%v (-want +got):\n%s", ok, diff)
			}
		})
	}
}

func TestParseB3(t *testing.T) {
	long, short := idOf(t, traceText), idOf(t, strings.Repeat("0", 16)+traceText[16:])
	span := spanOf(t, spanText)
	cases := map[string]struct {
		v      string
		want   Parent
		before string // the parent's digits
		ok     bool
	}{
		"sampled":                {v: traceText + "-" + spanText + "-1", want: Parent{long, span, Record}, ok: true},
		"debug":                  {v: traceText + "-" + spanText + "-d", want: Parent{long, span, Record}, ok: true},
		"not sampled":            {v: traceText + "-" + spanText + "-0", want: Parent{long, span, Drop}, ok: true},
		"up to us":               {v: traceText + "-" + spanText, want: Parent{long, span, Undecided}, ok: true},
		"with a parent":          {v: traceText + "-" + spanText + "-1-" + otherText, want: Parent{long, span, Record}, before: otherText, ok: true},
		"a short trace":          {v: traceText[16:] + "-" + spanText + "-1", want: Parent{short, span, Record}, ok: true},
		"a refusal alone":        {v: "0", want: Parent{Sampled: Drop}, ok: true},
		"a wish alone":           {v: "1", want: Parent{Sampled: Record}, ok: true},
		"debug alone":            {v: "d", want: Parent{Sampled: Record}, ok: true},
		"an unknown state":       {v: traceText + "-" + spanText + "-2"},
		"an unknown state alone": {v: "x"},
		"half a parent":          {v: traceText + "-" + spanText + "-1-" + otherText[:8]},
		"a hyphen too many":      {v: traceText + "-" + spanText + "-"},
		"a span of zeros":        {v: traceText + "-" + strings.Repeat("0", 16) + "-1"},
		"an odd trace":           {v: traceText[:20] + "-" + spanText + "-1"},
		"nothing":                {},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, _, before, ok := ParseB3([]byte(tc.v))
			if diff := cmp.Diff(tc.want, got); ok != tc.ok || diff != "" || string(before) != tc.before {
				t.Errorf("%v, parent %q (-want +got):\n%s", ok, before, diff)
			}
		})
	}
}

// headers are a request's, for tests.
type headers map[string][]byte

func (h headers) Header(name string) ([]byte, bool) { v, ok := h[name]; return v, ok }

// made is headers of pairs "name=value", which end at a blank.
func made(text string) headers {
	h := headers{}
	for pair := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(pair, "=")
		h[name] = []byte(value)
	}
	return h
}

func TestCarrier(t *testing.T) {
	const w3c = "00-" + traceText + "-" + spanText + "-01"
	cases := map[string]struct {
		names   *Names
		in      string
		trace   string // empty for none
		span    string
		sampled Decision
		present bool
		sofa    string // trace id, rpc id and application
		out     string // after Rewrite; empty when there is no place
	}{
		"nothing":                    {names: &HTTP, in: "accept=all"},
		"W3C":                        {names: &HTTP, in: "traceparent=" + w3c, trace: traceText, span: spanText, sampled: Record, present: true, out: "traceparent=00-" + traceText + "-ffffffffffffffff-01"},
		"W3C before B3":              {names: &HTTP, in: "traceparent=" + w3c + " b3=0", trace: traceText, span: spanText, sampled: Record, present: true, out: "b3=0 traceparent=00-" + traceText + "-ffffffffffffffff-01"},
		"W3C that cannot be read":    {names: &HTTP, in: "traceparent=oops", present: true},
		"B3 behind that":             {names: &HTTP, in: "traceparent=oops b3=0", sampled: Drop, present: true},
		"B3 in one":                  {names: &Dubbo, in: "b3=" + traceText + "-" + spanText + "-1-" + otherText, trace: traceText, span: spanText, sampled: Record, present: true, out: "b3=" + traceText + "-ffffffffffffffff-1-" + spanText},
		"B3 in several":              {names: &HTTP, in: "x-b3-traceid=" + traceText + " x-b3-spanid=" + spanText + " x-b3-parentspanid=" + otherText + " x-b3-sampled=1", trace: traceText, span: spanText, sampled: Record, present: true, out: "x-b3-parentspanid=" + spanText + " x-b3-sampled=1 x-b3-spanid=ffffffffffffffff x-b3-traceid=" + traceText},
		"B3 in several, by old word": {names: &Bolt, in: "X-B3-TraceId=" + traceText + " X-B3-SpanId=" + spanText + " X-B3-Sampled=false", trace: traceText, span: spanText, sampled: Drop, present: true, out: "X-B3-Sampled=false X-B3-SpanId=ffffffffffffffff X-B3-TraceId=" + traceText},
		"B3's debug flag":            {names: &HTTP, in: "x-b3-flags=1", sampled: Record, present: true},
		"B3's refusal alone":         {names: &HTTP, in: "x-b3-sampled=0", sampled: Drop, present: true},
		"B3 without a span":          {names: &HTTP, in: "x-b3-traceid=" + traceText + " x-b3-sampled=1", present: true},
		"SOFATracer over HTTP":       {names: &HTTP, in: "sofa-traceid=0a0fe8631571046378758100186220 sofa-rpcid=0.1", trace: "000a0fe8631571046378758100186220", present: true, sofa: "0a0fe8631571046378758100186220 0.1 "},
		"SOFATracer over Bolt": {names: &Bolt, in: "rpc_trace_context.sofaTraceId=0a0fe93f1488349732342100153695 rpc_trace_context.sofaRpcId=0 rpc_trace_context.sofaCallerApp=shop rpc_trace_context.samp=true",
			trace: "000a0fe93f1488349732342100153695", sampled: Record, present: true, sofa: "0a0fe93f1488349732342100153695 0 shop"},
		"SOFATracer does not want it": {names: &Bolt, in: "rpc_trace_context.sofaTraceId=0a0fe93f1488349732342100153695 rpc_trace_context.samp=false",
			trace: "000a0fe93f1488349732342100153695", sampled: Drop, present: true, sofa: "0a0fe93f1488349732342100153695  "},
		"the newer SOFATracer": {names: &Bolt, in: "new_rpc_trace_context=tcid=0a0fe93f1488349732342100153695&spid=0.2&pspid=0&sample=true&",
			trace: "000a0fe93f1488349732342100153695", sampled: Record, present: true, sofa: "0a0fe93f1488349732342100153695 0.2 "},
		"the newer SOFATracer, as SOFARPC 5.13.2 sends it": {names: &Bolt, in: "app=cashier protocol=bolt new_rpc_trace_context=tcid=c00002021795886110819100831291&spid=0&pspid=&sample=true&",
			trace: "00c00002021795886110819100831291", sampled: Record, present: true, sofa: "c00002021795886110819100831291 0 cashier"},
		"the newer SOFATracer with baggage": {names: &Bolt, in: "new_rpc_trace_context=tcid=c00002021795886110819100831291&spid=0.1.12&pspid=0.1&sample=false&_sys_zone=a&purse=b%3Dc&",
			trace: "00c00002021795886110819100831291", sampled: Drop, present: true, sofa: "c00002021795886110819100831291 0.1.12 "},
		"SOFATracer by the names of B3": {names: &HTTP, in: "x-b3-traceid=c00002021795886110819100831291 x-b3-spanid=0.1 x-b3-parentspanid=0 x-b3-sampled=true",
			trace: "00c00002021795886110819100831291", sampled: Record, present: true, sofa: "c00002021795886110819100831291 0.1 "},
		"SOFATracer by the names of B3, not wanted": {names: &Dubbo, in: "X-B3-TraceId=c00002021795886110819100831291 X-B3-SpanId=0 X-B3-ParentSpanId= X-B3-Sampled=false",
			trace: "00c00002021795886110819100831291", sampled: Drop, present: true, sofa: "c00002021795886110819100831291 0 "},
		"a span that is no number of calls": {names: &HTTP, in: "x-b3-traceid=c00002021795886110819100831291 x-b3-spanid=0..1 x-b3-sampled=1", present: true},
		"a SOFATracer of another kind":      {names: &Bolt, in: "rpc_trace_context.sofaTraceId=not-hexadecimal", trace: "c45a7ce2cf01cb2aa1d39c1e0ddf0c04", present: true, sofa: "not-hexadecimal  "},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			h := made(tc.in)
			var c Carrier
			c.Read(h, tc.names)
			trace, span := hex.EncodeToString(c.Trace[:]), hex.EncodeToString(c.Span[:])
			if c.Trace == (ID{}) {
				trace = ""
			}
			if c.Span == (SpanID{}) {
				span = ""
			}
			sofa := strings.Join([]string{string(c.SOFATrace), string(c.SOFARPC), string(c.SOFAApp)}, " ")
			if tc.sofa == "" {
				tc.sofa = "  "
			}
			if trace != tc.trace && !strings.Contains(name, "another kind") || span != tc.span || c.Sampled != tc.sampled || c.Present != tc.present || sofa != tc.sofa {
				t.Errorf("got trace %q, span %q, %d, %v, %q", trace, span, c.Sampled, c.Present, sofa)
			}
			rewritten := c.Rewrite(SpanID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
			want := made(tc.out)
			if tc.out == "" {
				want = made(tc.in)
			}
			if diff := cmp.Diff(want, h); rewritten != (tc.out != "") || diff != "" {
				t.Errorf("rewritten %v (-want +got):\n%s", rewritten, diff)
			}
		})
	}
}

func TestATraceIsDecidedOnTheSameEverywhere(t *testing.T) {
	ids, taken := newIDs(), 0
	share := Percent(10)
	for range 100_000 {
		id := ids.trace()
		if share.takes(&id) != Percent(10).takes(&id) {
			t.Fatal("two sidecars differ")
		}
		if share.takes(&id) {
			taken++
		}
		if !Percent(100).takes(&id) || Percent(0).takes(&id) {
			t.Fatalf("%x: all or none", id)
		}
	}
	if taken < 9_000 || taken > 11_000 {
		t.Errorf("%d of 100000 traces are in a share of 10 percent", taken)
	}
	sequence := 0
	for i := range 10_000 { // SOFATracer's ids are not random
		p, _ := parseSOFA([]byte("0a0fe86315710463787" + string(rune('0'+i/1000)) + string(rune('0'+i/100%10)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10)) + "1001"))
		if share.takes(&p.Trace) {
			sequence++
		}
	}
	if sequence < 800 || sequence > 1200 {
		t.Errorf("%d of 10000 numbered traces are in a share of 10 percent", sequence)
	}
}

// FuzzContext: no context makes a decoder panic or read on, and what is rewritten is read again as our span.
func FuzzContext(f *testing.F) {
	for _, v := range []string{
		"00-" + traceText + "-" + spanText + "-01", traceText + "-" + spanText + "-1-" + otherText, traceText[16:] + "-" + spanText + "-d", "0",
		"0a0fe8631571046378758100186220", "tcid=0a0fe93f1488349732342100153695&spid=0.2&pspid=0&sample=true&", "&&==&tcid=",
	} {
		for form := range byte(6) {
			f.Add(form, []byte(v), []byte(spanText))
		}
	}
	f.Fuzz(func(t *testing.T, form byte, v, span []byte) {
		names := []*Names{&HTTP, &Dubbo, &Bolt}[int(form)%3]
		v, span = bytes.Clone(v), bytes.Clone(span) // they are written to
		h := headers{}
		switch form % 6 {
		case 0:
			h[names.parent] = v
		case 1:
			h[names.b3] = v
		case 2:
			h[names.b3Trace], h[names.b3Span], h[names.b3Parent] = v, span, []byte(otherText)
		case 3:
			h["sofa-traceid"], h["rpc_trace_context.sofaTraceId"], h["rpc_trace_context.samp"] = v, v, span
		case 4:
			h["new_rpc_trace_context"] = v
		case 5:
			h[names.b3Trace], h[names.b3Span], h["app"] = v, []byte("0.1"), span
		}
		var c, again Carrier
		c.Read(h, names)
		if c.Trace == (ID{}) && c.Span != (SpanID{}) {
			t.Error("a span without a trace")
		}
		ours := SpanID{1, 2, 3, 4, 5, 6, 7, 8}
		before := len(v)
		if !c.Rewrite(ours) {
			return
		}
		again.Read(h, names)
		if again.Trace != c.Trace || again.Span != ours || again.Sampled != c.Sampled || len(v) != before {
			t.Errorf("read %+v, and after it was rewritten %+v", c.Parent, again.Parent)
		}
	})
}

func TestReadingAContextAllocatesNothing(t *testing.T) {
	for name, in := range map[string]string{
		"none": "", "W3C": "traceparent=00-" + traceText + "-" + spanText + "-00", "B3": "b3=0",
		"SOFATracer": "rpc_trace_context.sofaTraceId=something_of_its_own rpc_trace_context.samp=false",
	} {
		h := Headers(made(in))
		r := NewExporter(Options{}).NewRecorder(0)
		var c Carrier
		if n := testing.AllocsPerRun(100, func() {
			c.Read(h, &Bolt)
			if r.Begin(&c, r.Share()) != nil {
				t.Fatal("a span")
			}
		}); n > 0 {
			t.Errorf("%s: %.0f allocations for a request that is not sampled", name, n)
		}
	}
}
