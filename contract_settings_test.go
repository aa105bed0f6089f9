package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/axlemesh/axle/api/bootstrap"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/xds"
	"github.com/axlemesh/axle/sidecar/accesslog"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/overload"
	"github.com/axlemesh/axle/sidecar/static"
)

// TestSettingsReachTheSidecar: what a fleet says is what each listener logs and samples, and what the process does.
func TestSettingsReachTheSidecar(t *testing.T) {
	const uri = "http://otel.observability:4318/v1/traces"
	steps := overload.Defaults()
	steps[overload.Memory] = overload.Steps{overload.CloseIdle: 0, overload.Refuse: 0.75, overload.ShedLow: 0.82, overload.ShedDefault: 0.88, overload.ShedHigh: 0.99}
	steps[overload.CPU] = overload.Steps{overload.ShedLow: 0.90}
	cases := map[string]struct {
		spec     string
		log      *accesslog.Filter
		share    *float64
		tracing  *bootstrap.Tracing
		overload overload.Config
	}{
		"nothing":         {spec: `{}`},
		"a log":           {spec: `telemetry: {accessLog: {enabled: true}}`, log: &accesslog.Filter{}},
		"one that is off": {spec: `telemetry: {accessLog: {enabled: false, onlyErrors: true}}`},
		"errors":          {spec: `telemetry: {accessLog: {enabled: true, onlyErrors: true}}`, log: &accesslog.Filter{OnlyErrors: true}},
		"what is slow":    {spec: `telemetry: {accessLog: {enabled: true, slowerThan: 1m30s}}`, log: &accesslog.Filter{SlowerThan: 90 * time.Second}},
		"a sample":        {spec: `telemetry: {accessLog: {enabled: true, samplePercent: 50}}`, log: &accesslog.Filter{Sample: 1 << 31}},
		"the smallest":    {spec: `telemetry: {accessLog: {enabled: true, samplePercent: 0.0001%}}`, log: &accesslog.Filter{Sample: 4294}},
		"of errors":       {spec: `telemetry: {accessLog: {enabled: true, samplePercent: 25%, onlyErrors: true}}`, log: &accesslog.Filter{Sample: 1 << 30, OnlyErrors: true}},
		"all of it": {
			spec: `telemetry: {accessLog: {enabled: true, samplePercent: 100, onlyErrors: true, slowerThan: 500ms}}`,
			log:  &accesslog.Filter{OnlyErrors: true, SlowerThan: 500 * time.Millisecond},
		},
		"spans": {spec: `telemetry: {tracing: {endpoint: "` + uri + `"}}`, share: new(0.), tracing: &bootstrap.Tracing{Endpoint: uri, ServiceName: "pay"}},
		"some spans": {
			spec:  `telemetry: {tracing: {endpoint: "` + uri + `", serviceName: shop, samplePercent: 0.0001%}}`,
			share: new(0.0001), tracing: &bootstrap.Tracing{Endpoint: uri, ServiceName: "shop", SamplePercent: 0.0001},
		},
		"overloads": {
			spec:     `overload: {interval: 250ms, memory: {closeIdle: 0, refuseClients: 75, shedHigh: 99}, cpu: {shedLow: 90}}`,
			overload: overload.Config{Interval: 250 * time.Millisecond, Steps: steps},
		},
		"no guard": {spec: `overload: {disabled: true, interval: 1m}`, overload: overload.Config{Interval: time.Minute}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			fleet := &axlev1.SidecarFleet{}
			if err := yaml.UnmarshalStrict([]byte(tc.spec), &fleet.Spec); err != nil {
				t.Fatal(err)
			}
			pod := &corev1.Pod{}
			pod.Labels = map[string]string{"app": "pay"}
			ports := []axlev1.PortSpec{{AppPort: 12200, Protocol: axlev1.ProtocolBolt}, {AppPort: 8080, Protocol: axlev1.ProtocolHTTP1}, {AppPort: 9000}}
			snap := takenWith(t, &axlev1.PodDesired{Generation: 1, Ports: ports}, pod.Labels, xds.SettingsOf(fleet, pod))
			want := make([]config.Listener, len(snap.Listeners))
			for i := range want {
				want[i].AccessLog, want[i].SamplePercent = tc.log, tc.share
			}
			others := cmpopts.IgnoreFields(config.Listener{}, "Name", "Address", "Protocol", "Direction", "Cluster")
			if diff := cmp.Diff(want, snap.Listeners, others); diff != "" || len(want) != 5 {
				t.Errorf("%d listeners (-want +got):\n%s", len(want), diff)
			}
			if diff := cmp.Diff(tc.tracing, snap.Tracing); diff != "" {
				t.Errorf("tracing (-want +got):\n%s", diff)
			}
			if tc.overload.Interval == 0 {
				tc.overload = overload.Config{Interval: overload.DefaultInterval, Steps: overload.Defaults()}
			}
			got, _, err := static.Overload(&bootstrap.Bootstrap{Overload: snap.Overload})
			if diff := cmp.Diff(tc.overload, got); diff != "" || err != nil {
				t.Errorf("%v; overload (-want +got):\n%s", err, diff)
			}
		})
	}
}
