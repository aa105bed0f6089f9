package trace

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// The protobufs of OTLP are the oracle of these tests; the sidecar itself does without them.

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// exported is what a collector makes of spans that end at noon.
func exported(t *testing.T, end time.Duration, spans ...*Span) *tracepb.ResourceSpans {
	t.Helper()
	e := NewExporter(Options{
		Now: func() time.Time { return noon }, Build: "v1", Resource: []Attribute{{Key: "service.name", Value: "shop"}},
	})
	r := e.NewRecorder(0)
	for _, s := range spans {
		s.to = r
		s.End(end)
	}
	r.Hand()
	b := <-e.queue
	return decoded(t, append(appendPayload(nil, e.to.Load().resource, e.scope, len(b.spans)), b.spans...))
}

func decoded(t *testing.T, payload []byte) *tracepb.ResourceSpans {
	t.Helper()
	var data tracepb.TracesData // the same fields as the collector's request has
	if err := proto.Unmarshal(payload, &data); err != nil {
		t.Fatal(err)
	}
	if len(data.ResourceSpans) != 1 || len(data.ResourceSpans[0].ScopeSpans) != 1 {
		t.Fatalf("got %v", &data)
	}
	return data.ResourceSpans[0]
}

func attributes(s *tracepb.Span) string {
	var all []string
	for _, kv := range s.Attributes {
		v := kv.Value.GetStringValue()
		switch {
		case kv.Value.GetIntValue() != 0:
			v = fmt.Sprint(kv.Value.GetIntValue())
		case kv.Value.GetBoolValue():
			v = "true"
		}
		all = append(all, kv.Key+"="+v)
	}
	return strings.Join(all, "\n") + "\n"
}

func TestASpanOnTheWire(t *testing.T) {
	s := &Span{
		Trace: idOf(t, traceText), ID: spanOf(t, spanText), Parent: spanOf(t, otherText), Kind: Client, System: HTTP1, Start: 2 * time.Second,
		Peer: netip.MustParseAddrPort("[2001:db8::1]:8080"), RouteHost: "shop.demo", Route: "canary", Cluster: "v2", Listener: "out", Status: 503, Retries: 2,
	}
	s.Set(Method, []byte("GET"))
	s.Set(Path, []byte("/a/b"))
	s.Set(Host, []byte("shop.demo"))
	got := exported(t, 2500*time.Millisecond, s)
	one := got.ScopeSpans[0].Spans[0]
	if got.Resource.Attributes[0].Value.GetStringValue() != "shop" || got.ScopeSpans[0].Scope.Version != "v1" {
		t.Errorf("resource %v, scope %v", got.Resource, got.ScopeSpans[0].Scope)
	}
	if hex.EncodeToString(one.TraceId) != traceText || hex.EncodeToString(one.SpanId) != spanText || hex.EncodeToString(one.ParentSpanId) != otherText {
		t.Errorf("ids %x, %x, %x", one.TraceId, one.SpanId, one.ParentSpanId)
	}
	if one.Name != "GET" || one.Kind != tracepb.Span_SPAN_KIND_CLIENT || one.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || one.Flags != 1 {
		t.Errorf("name %q, kind %s, status %s, flags %d", one.Name, one.Kind, one.Status, one.Flags)
	}
	if end := uint64(noon.UnixNano()); one.EndTimeUnixNano != end || one.StartTimeUnixNano != end-5e8 {
		t.Errorf("from %d to %d", one.StartTimeUnixNano, one.EndTimeUnixNano)
	}
	want := `http.request.method=GET
url.path=/a/b
server.address=shop.demo
network.protocol.name=http
network.protocol.version=1.1
http.response.status_code=503
network.peer.address=2001:db8::1
network.peer.port=8080
error.type=503
http.request.resend_count=2
axle.listener=out
axle.route.host=shop.demo
axle.route.name=canary
axle.cluster=v2
axle.retries=2
`
	if diff := cmp.Diff(want, attributes(one)); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

func TestWhatASpanIsCalledAndWhetherItFailed(t *testing.T) {
	cases := map[string]struct {
		span      Span
		name, why string
		failed    bool
	}{
		"HTTP that is well":                  {Span{System: HTTP2, Status: 204, Kind: Server}, "do", "", false},
		"HTTP that a server cannot":          {Span{System: HTTP1, Status: 500, Kind: Server}, "do", "500", true},
		"HTTP that a client should not":      {Span{System: HTTP1, Status: 404, Kind: Client}, "do", "404", true},
		"which is no server's fault":         {Span{System: HTTP1, Status: 404, Kind: Server}, "do", "", false},
		"HTTP of our own":                    {Span{System: HTTP1, Status: 504, Kind: Client, Failure: "timeout"}, "do", "timeout", true},
		"a client that left":                 {Span{System: HTTP1, Status: -1, Kind: Server, Failure: GoneWith}, "do", GoneWith, false},
		"gRPC":                               {Span{System: GRPC, Status: 0, Kind: Client}, "a.B/do", "", false},
		"gRPC that fails":                    {Span{System: GRPC, Status: 5, Kind: Client}, "a.B/do", "5", true},
		"which is no server's fault, either": {Span{System: GRPC, Status: 5, Kind: Server}, "a.B/do", "", false},
		"gRPC that a server cannot":          {Span{System: GRPC, Status: 14, Kind: Server}, "a.B/do", "14", true},
		"gRPC's nonsense":                    {Span{System: GRPC, Status: 60000, Kind: Server}, "a.B/do", "", false},
		"SOFARPC":                            {Span{System: BoltRPC, Kind: Server}, "a.B/do", "", false},
		"SOFARPC that fails":                 {Span{System: BoltRPC, Status: 7, Kind: Server}, "a.B/do", "7", true},
		"Dubbo":                              {Span{System: DubboRPC, Status: 20, Kind: Client}, "a.B/do", "", false},
		"Dubbo that fails":                   {Span{System: DubboRPC, Status: 70, Kind: Client}, "a.B/do", "70", true},
		"a oneway":                           {Span{System: DubboRPC, Status: -1, Kind: Client}, "a.B/do", "", false},
		"one that moved":                     {Span{System: BoltRPC, Status: -1, Kind: Client, Moved: true}, "a.B/do", "", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := tc.span
			s.Set(Method, []byte("do"))
			if s.rpc() {
				s.Set(Service, []byte("a.B"))
			}
			one := exported(t, 0, &s).ScopeSpans[0].Spans[0]
			failed := one.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR
			has := strings.Contains(attributes(one), "error.type="+tc.why+"\n")
			if one.Name != tc.name || failed != tc.failed || tc.why != "" && !has || tc.why == "" && strings.Contains(attributes(one), "error.type") {
				t.Errorf("name %q, failed %v, attributes:\n%s", one.Name, failed, attributes(one))
			}
			if moved := strings.Contains(attributes(one), "axle.moved=true"); moved != tc.span.Moved {
				t.Errorf("moved: %v", moved)
			}
		})
	}
}

// TestTextsAreCutAndClean: what a client sends is bounded, and no bytes of it make a batch that the collector cannot read.
func TestTextsAreCutAndClean(t *testing.T) {
	s := &Span{Kind: Server, Status: -1}
	s.Set(SOFATrace, []byte(strings.Repeat("x", 1000)))
	s.Set(Method, []byte("a\xffb\xc3"))
	s.Set(Path, []byte(strings.Repeat("ä", 1000)))
	s.Set(Service, []byte(strings.Repeat("y", 1000)))
	s.Set(Host, []byte(strings.Repeat("ä", 1000)))
	if string(s.text(Method)) != "a?b?" || len(s.text(SOFATrace)) != maxText || len(s.text(Path)) != maxText {
		t.Errorf("got %q and %d and %d bytes", s.text(Method), len(s.text(SOFATrace)), len(s.text(Path)))
	}
	for i := range texts {
		if !utf8.Valid(s.text(i)) {
			t.Errorf("text %d is no UTF-8: %q", i, s.text(i))
		}
	}
	exported(t, 0, s)
}

func TestASpanComesBack(t *testing.T) {
	r := NewExporter(Options{Now: func() time.Time { return noon }}).NewRecorder(0)
	s := &Span{
		Trace: idOf(t, traceText), ID: spanOf(t, spanText), Parent: spanOf(t, otherText), Kind: Server, System: GRPC, Start: 2 * time.Second, Status: -1,
		Peer: netip.MustParseAddrPort("192.0.2.1:80"), RouteHost: "a", Route: "b", Cluster: "c", Listener: "d", Retries: 3, to: r,
	}
	s.Set(SOFATrace, []byte("sofa"))
	s.Set(Method, []byte("do"))
	s.Set(Host, []byte("shop"))
	b := s.AppendBinary(nil, 3*time.Second) // this process's clock began earlier than the next one's
	got, rest, err := r.Restore(append(b, "more"...), 10*time.Second)
	if err != nil || string(rest) != "more" {
		t.Fatalf("%q, %v", rest, err)
	}
	want := *s
	want.Start = 9 * time.Second
	if diff := cmp.Diff(&want, got, cmp.AllowUnexported(Span{}), cmp.Comparer(func(a, b *Recorder) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("span (-want +got):\n%s", diff)
	}
	for n := range b {
		if _, _, err := r.Restore(b[:n], 0); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(b))
		}
	}
}

func FuzzMoved(f *testing.F) {
	r := NewExporter(Options{Now: func() time.Time { return noon }}).NewRecorder(0)
	s := &Span{Trace: ID{1}, ID: SpanID{2}, Kind: Client, System: DubboRPC, Status: 20, Peer: netip.MustParseAddrPort("192.0.2.1:80"), Cluster: "c"}
	s.Set(Method, []byte("do"))
	f.Add(s.AppendBinary(nil, time.Second))
	f.Add([]byte{movedVersion, 2, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, err := r.Restore(b, time.Hour)
		if err != nil {
			return
		}
		again, rest, err := r.Restore(s.AppendBinary(nil, time.Hour), time.Hour)
		if err != nil || len(rest) > 0 {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if diff := cmp.Diff(s, again, cmp.AllowUnexported(Span{}), cmp.Comparer(func(a, b *Recorder) bool { return a == b }),
			cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("span changed (-first +second):\n%s", diff)
		}
		exported(t, time.Hour, s)
	})
}
