package xds

import (
	"math"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/axlemesh/axle/api/bootstrap"
)

// telling is a listener with sections of a bootstrap in its metadata.
func telling(l *listenerv3.Listener, sections map[string]*structpb.Struct) *listenerv3.Listener {
	l.Metadata = &corev3.Metadata{FilterMetadata: sections}
	return l
}

func fields(t *testing.T, all map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(all)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSettingsOfTheProcess(t *testing.T) {
	const uri = "http://otel.observability:4318/v1/traces"
	cases := map[string]struct {
		key      string
		in       map[string]any
		tracing  *bootstrap.Tracing
		overload *bootstrap.Overload
		err      string
	}{
		"nothing": {},
		"tracing": {
			key: tracingMetadata, in: map[string]any{"endpoint": uri, "serviceName": "shop", "samplePercent": 0.25},
			tracing: &bootstrap.Tracing{Endpoint: uri, ServiceName: "shop", SamplePercent: 0.25},
		},
		"overload": {
			key: overloadMetadata, in: map[string]any{"interval": "500ms", "memory": map[string]any{"closeIdle": 0, "refuseClients": 75}, "cpu": map[string]any{"shedLow": 90}},
			overload: &bootstrap.Overload{
				Interval: "500ms", Memory: &bootstrap.OverloadSteps{CloseIdle: new(0), RefuseClients: new(75)}, CPU: &bootstrap.OverloadSteps{ShedLow: new(90)},
			},
		},
		"no endpoint":      {key: tracingMetadata, in: map[string]any{}, err: "metadata.filter_metadata[axlemesh.io/tracing]: tracing.endpoint: \"\" is no URL of a collector"},
		"too many samples": {key: tracingMetadata, in: map[string]any{"endpoint": uri, "samplePercent": 101}, err: "samplePercent: 101 is not between 0 and 100"},
		"a field of a later operator": {
			key: tracingMetadata, in: map[string]any{"endpoint": uri, "headers": []any{"x"}}, tracing: &bootstrap.Tracing{Endpoint: uri},
		},
		"the wrong way":  {key: overloadMetadata, in: map[string]any{"memory": map[string]any{"closeIdle": 90}}, err: "metadata.filter_metadata[axlemesh.io/overload]: overload: memory: \"refuse\" begins at 0.8, below what comes before it"},
		"half a percent": {key: overloadMetadata, in: map[string]any{"cpu": map[string]any{"shedLow": 90.5}}, err: "metadata.filter_metadata[axlemesh.io/overload]: json: cannot unmarshal number 90.5 into Go struct field OverloadSteps.cpu.shedLow"},
		"no number":      {key: tracingMetadata, in: map[string]any{"samplePercent": math.NaN()}, err: "metadata.filter_metadata[axlemesh.io/tracing]: "},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for _, l := range []*listenerv3.Listener{inbound(), outbound()} {
				if tc.key != "" {
					l = telling(l, map[string]*structpb.Struct{tc.key: fields(t, tc.in)})
				}
				s := NewStore()
				_, err := s.Update(TypeListener, []*discoveryv3.Resource{res("1", l)}, nil)
				if said(t, err, tc.err); err != nil {
					continue
				}
				snap := snapshot(t, s)
				if diff := cmp.Diff(tc.tracing, snap.Tracing); diff != "" {
					t.Errorf("tracing (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tc.overload, snap.Overload); diff != "" {
					t.Errorf("overload (-want +got):\n%s", diff)
				}
				if p := snap.Listeners[0].SamplePercent; (p == nil) != (tc.tracing == nil) || p != nil && *p != tc.tracing.SamplePercent {
					t.Errorf("share of the listener: %v", p)
				}
			}
		})
	}
}

// TestBadSettingsKeepTheLastGoodOnes, with the listener that they came with, also for a successor and behind a restart.
func TestBadSettingsKeepTheLastGoodOnes(t *testing.T) {
	const uri = "http://otel.observability:4318/v1/traces"
	good := telling(outbound(), map[string]*structpb.Struct{
		tracingMetadata: fields(t, map[string]any{"endpoint": uri, "samplePercent": 1}), overloadMetadata: fields(t, map[string]any{"disabled": true}),
	})
	bad := telling(outbound(), map[string]*structpb.Struct{tracingMetadata: fields(t, map[string]any{"endpoint": "otel:4318"})})
	s := NewStore()
	fill(t, s, "1", proto.Message(good))
	_, err := s.Update(TypeListener, []*discoveryv3.Resource{res("2", bad)}, nil)
	said(t, err, `Listener "outbound/bolt": metadata.filter_metadata[axlemesh.io/tracing]: tracing.endpoint`)
	out, err := s.Export()
	if err != nil {
		t.Fatal(err)
	}
	for name, kept := range map[string][]byte{"a successor": out.All, "a restart": out.Keyless} {
		snap := readSnapshot(t, kept)
		if snap.Tracing == nil || snap.Tracing.Endpoint != uri || snap.Overload == nil || !snap.Overload.Disabled || *snap.Listeners[0].SamplePercent != 1 {
			t.Errorf("%s: %+v, %+v", name, snap.Tracing, snap.Overload)
		}
	}
}

// TestTheFirstListenerDecides where listeners do not agree about the process, and the others are named.
func TestTheFirstListenerDecides(t *testing.T) {
	s := NewStore()
	tell := func(l *listenerv3.Listener, host string, interval string) {
		fill(t, s, "1", telling(l, map[string]*structpb.Struct{
			tracingMetadata:  fields(t, map[string]any{"endpoint": "http://" + host + "/v1/traces", "samplePercent": float64(len(interval))}),
			overloadMetadata: fields(t, map[string]any{"interval": interval}),
		}))
	}
	tell(outbound(), "b", "10s")
	tell(inbound(), "a", "1s")
	snap, err := s.Snapshot()
	for _, what := range []string{"tracing", "overload"} {
		said(t, err, `listener "outbound/bolt": its `+what+` is not in force: listener "inbound/15200" says something else, and comes first`)
	}
	if snap.Tracing.Endpoint != "http://a/v1/traces" || snap.Overload.Interval != "1s" {
		t.Errorf("%+v, %+v", snap.Tracing, snap.Overload)
	}
	for _, l := range snap.Listeners { // the share is each one's own
		if want := map[string]float64{"inbound/15200": 2, "outbound/bolt": 3}[l.Name]; *l.SamplePercent != want {
			t.Errorf("%s: %v", l.Name, *l.SamplePercent)
		}
	}
	tell(outbound(), "a", "1s")
	if _, err := s.Snapshot(); err != nil {
		t.Errorf("they agree: %v", err)
	}
}

func FuzzSettings(f *testing.F) {
	for _, seed := range []string{
		`{"axlemesh.io/tracing": {"endpoint": "http://a/b", "samplePercent": 1}}`,
		`{"axlemesh.io/overload": {"interval": "1s", "memory": {"closeIdle": 70}}}`,
		`{"axlemesh.io/overload": {"memory": "all"}, "axlemesh.io/tracing": null}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all := &structpb.Struct{}
		if all.UnmarshalJSON([]byte(text)) != nil {
			return
		}
		sections := map[string]*structpb.Struct{}
		for key, v := range all.GetFields() {
			sections[key] = v.GetStructValue()
		}
		s := NewStore()
		if _, err := s.Update(TypeListener, []*discoveryv3.Resource{res("1", telling(inbound(), sections))}, nil); err != nil {
			if !strings.Contains(err.Error(), "metadata.filter_metadata[axlemesh.io/") {
				t.Errorf("the error does not name the field: %v", err)
			}
			return
		}
		snap, err := s.Snapshot()
		if err != nil || snap.Validate() != nil {
			t.Errorf("%v, %v", err, snap.Validate())
		}
	})
}

// TestSettingsOfAnyText: what JSON has as it is, and the reader of YAML takes for the end of a line or for no text, comes through.
func TestSettingsOfAnyText(t *testing.T) {
	for _, text := range []string{"a\u0080b", "a\u0085b", "a\u2028b", "\ufeffa", "a\u007fb", "ö", "\U0001f600", `"\`, "1", "null", "a: b #c"} {
		m := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{tracingMetadata: fields(t, map[string]any{"serviceName": text})}}
		got, err := section[bootstrap.Tracing](m, tracingMetadata)
		if err != nil || got.ServiceName != text {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}
