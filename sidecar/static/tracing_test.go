package static

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/api/bootstrap"
)

func TestTracingIsRead(t *testing.T) {
	b, err := Parse("f", []byte("tracing: {endpoint: 'http://[::1]:4318/v1/traces', serviceName: shop, samplePercent: 0.5}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &bootstrap.Tracing{Endpoint: "http://[::1]:4318/v1/traces", ServiceName: "shop", SamplePercent: 0.5}
	if diff := cmp.Diff(want, b.Tracing); diff != "" || CheckTracing(b.Tracing) != nil {
		t.Errorf("%v; tracing (-want +got):\n%s", CheckTracing(b.Tracing), diff)
	}
}

func TestMistakesInTracing(t *testing.T) {
	const good = "https://collector.observability/v1/traces"
	cases := map[string]struct {
		in   *bootstrap.Tracing
		want string // empty for none
	}{
		"none":                {},
		"good":                {in: &bootstrap.Tracing{Endpoint: good, SamplePercent: 100}},
		"no endpoint":         {in: &bootstrap.Tracing{}, want: `tracing.endpoint: "" is no URL of a collector`},
		"an address":          {in: &bootstrap.Tracing{Endpoint: "127.0.0.1:4318"}, want: "tracing.endpoint: it is no URL"},
		"no path":             {in: &bootstrap.Tracing{Endpoint: "http://127.0.0.1:4318"}, want: "use one as http://127.0.0.1:4318/v1/traces"},
		"another scheme":      {in: &bootstrap.Tracing{Endpoint: "grpc://127.0.0.1:4317/x"}, want: "is no URL of a collector"},
		"a password":          {in: &bootstrap.Tracing{Endpoint: "http://me:secret@127.0.0.1:4318/v1/traces"}, want: "the collector gets no credentials"},
		"a token":             {in: &bootstrap.Tracing{Endpoint: good + "?token=secret"}, want: "it has a query or a fragment: the collector gets no credentials"},
		"a token, elsewhere":  {in: &bootstrap.Tracing{Endpoint: good + "#secret"}, want: "it has a query or a fragment"},
		"more than all":       {in: &bootstrap.Tracing{Endpoint: good, SamplePercent: 101}, want: "tracing.samplePercent: 101 is not between 0 and 100"},
		"less than none":      {in: &bootstrap.Tracing{Endpoint: good, SamplePercent: -1}, want: "tracing.samplePercent: -1 is not between 0 and 100"},
		"nothing of the sort": {in: &bootstrap.Tracing{Endpoint: good, SamplePercent: math.NaN()}, want: "tracing.samplePercent: NaN"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := CheckTracing(tc.in); err != nil {
				got = err.Error()
			}
			if tc.want == "" != (got == "") || !strings.Contains(got, tc.want) || strings.Contains(got, "secret") {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
