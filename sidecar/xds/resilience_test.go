package xds

import (
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/axlemesh/axle/sidecar/config"
)

func TestTranslateLimits(t *testing.T) {
	in := &clusterv3.Cluster{CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{
		{Priority: corev3.RoutingPriority_HIGH, MaxRequests: wrapperspb.UInt32(1)},
		{MaxConnections: wrapperspb.UInt32(1), MaxPendingRequests: wrapperspb.UInt32(2), MaxRequests: wrapperspb.UInt32(3), MaxRetries: wrapperspb.UInt32(4)},
	}}}
	got, err := translateCluster(in)
	said(t, err, "")
	want := config.Cluster{
		MaxConnections: 1, MaxPending: 2, MaxRequests: 3, MaxRetries: 4, High: &config.Breakers{MaxRequests: 1},
		Connections: 1, ConnectTimeout: time.Second, Balancing: config.Balancing{Panic: 50},
	}
	if diff := cmp.Diff(want, got.Cluster, equal); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	in.CircuitBreakers.Thresholds[1].MaxRetries.Value = 0
	_, err = translateCluster(in)
	said(t, err, "circuit_breakers.thresholds[1].max_retries: 0 lets nothing through")
	in.CircuitBreakers.Thresholds[1].RetryBudget = &clusterv3.CircuitBreakers_Thresholds_RetryBudget{}
	_, err = translateCluster(in)
	said(t, err, "circuit_breakers.thresholds[1].retry_budget: unsupported")
}

func TestTranslateOutlier(t *testing.T) {
	cases := map[string]struct {
		in   *clusterv3.OutlierDetection
		want *config.Outlier
		err  string
	}{
		"none": {},
		"as Envoy's defaults": {in: &clusterv3.OutlierDetection{}, want: &config.Outlier{
			Consecutive: 5, Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjection: 300 * time.Second, MaxPercent: 10,
			SuccessRate: &config.SuccessRate{Endpoints: 5, Requests: 100, Factor: 1.9},
		}},
		"everything": {
			in: &clusterv3.OutlierDetection{
				Consecutive_5Xx: wrapperspb.UInt32(7), ConsecutiveGatewayFailure: wrapperspb.UInt32(3), EnforcingConsecutiveGatewayFailure: wrapperspb.UInt32(100),
				Interval: durationpb.New(time.Second), BaseEjectionTime: durationpb.New(400 * time.Second), MaxEjectionPercent: wrapperspb.UInt32(60),
				AlwaysEjectOneHost: wrapperspb.Bool(true), EnforcingSuccessRate: wrapperspb.UInt32(0), EnforcingConsecutive_5Xx: wrapperspb.UInt32(0),
			},
			want: &config.Outlier{ConsecutiveGateway: 3, Interval: time.Second, BaseEjection: 400 * time.Second, MaxEjection: 400 * time.Second, MaxPercent: 60, AlwaysOne: true},
		},
		"by chance":        {in: &clusterv3.OutlierDetection{EnforcingConsecutive_5Xx: wrapperspb.UInt32(5)}, err: "outlier_detection.enforcing_consecutive_5xx: 5 is unsupported: send 0 or 100"},
		"failure rates":    {in: &clusterv3.OutlierDetection{FailurePercentageThreshold: wrapperspb.UInt32(5)}, err: "outlier_detection.failure_percentage_threshold: unsupported"},
		"too many percent": {in: &clusterv3.OutlierDetection{MaxEjectionPercent: wrapperspb.UInt32(101)}, err: "outlier: 101 % are not between 0 and 100"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := translateCluster(&clusterv3.Cluster{OutlierDetection: tc.in})
			said(t, err, tc.err)
			if diff := cmp.Diff(tc.want, got.Outlier); err == nil && diff != "" {
				t.Errorf("outlier (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTranslateCheck(t *testing.T) {
	with := func(change func(*corev3.HealthCheck)) []*corev3.HealthCheck {
		c := &corev3.HealthCheck{
			Timeout: durationpb.New(time.Second), Interval: durationpb.New(10 * time.Second), IntervalJitterPercent: 10,
			UnhealthyThreshold: wrapperspb.UInt32(3), HealthyThreshold: wrapperspb.UInt32(2),
			HealthChecker: &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{}},
		}
		change(c)
		return []*corev3.HealthCheck{c}
	}
	http := &corev3.HealthCheck_HttpHealthCheck{Path: "/ok", Host: "h", ExpectedStatuses: []*typev3.Int64Range{{Start: 200, End: 300}}}
	want := config.Check{Interval: 10 * time.Second, Jitter: time.Second, Timeout: time.Second, Unhealthy: 3, Healthy: 2}
	wantHTTP, wantBolt := want, want
	wantHTTP.Kind, wantHTTP.Path, wantHTTP.Host, wantHTTP.Expect = config.CheckHTTP, "/ok", "h", [2]int{200, 300}
	wantBolt.Kind = config.CheckBolt
	cases := map[string]struct {
		in   []*corev3.HealthCheck
		want *config.Check
		err  string
	}{
		"none": {},
		"tcp":  {in: with(func(*corev3.HealthCheck) {}), want: &want},
		"http": {in: with(func(c *corev3.HealthCheck) {
			c.HealthChecker = &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: http}
		}), want: &wantHTTP},
		"bolt": {in: with(func(c *corev3.HealthCheck) {
			c.HealthChecker = &corev3.HealthCheck_CustomHealthCheck_{CustomHealthCheck: &corev3.HealthCheck_CustomHealthCheck{Name: CheckBolt}}
		}), want: &wantBolt},
		"redis": {in: with(func(c *corev3.HealthCheck) {
			c.HealthChecker = &corev3.HealthCheck_CustomHealthCheck_{CustomHealthCheck: &corev3.HealthCheck_CustomHealthCheck{Name: "redis"}}
		}), err: `health_checks[0].custom_health_check.name: "redis" is unknown`},
		"no checker":   {in: with(func(c *corev3.HealthCheck) { c.HealthChecker = nil }), err: "health_checker: send tcp_health_check"},
		"no threshold": {in: with(func(c *corev3.HealthCheck) { c.HealthyThreshold = nil }), err: "health check: thresholds 3 and 0 have to be positive"},
		"no interval":  {in: with(func(c *corev3.HealthCheck) { c.Interval = nil }), err: "health check: an interval of 0s is shorter than 100ms"},
		"two":          {in: append(with(func(*corev3.HealthCheck) {}), &corev3.HealthCheck{}), err: "health_checks: send at most 1, not 2"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := translateCluster(&clusterv3.Cluster{HealthChecks: tc.in})
			said(t, err, tc.err)
			if diff := cmp.Diff(tc.want, got.Check); err == nil && diff != "" {
				t.Errorf("check (-want +got):\n%s", diff)
			}
		})
	}
}
