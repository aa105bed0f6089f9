package xds

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/axlemesh/axle/sidecar/config"
)

// CheckBolt is the name of the custom health check that sends Bolt heartbeats.
const CheckBolt = "axlemesh.io/bolt"

// translateLimits reads the thresholds of both priorities. What they do not name has no limit. Connections are shared by all
// priorities: of them only the default one's threshold counts.
func translateLimits(b *clusterv3.CircuitBreakers, out *config.Cluster) error {
	for i, t := range b.GetThresholds() {
		most := &config.Cluster{}
		high := t.GetPriority() == corev3.RoutingPriority_HIGH
		if err := only(t, "priority", "max_connections", "max_pending_requests", "max_requests", "max_retries", "track_remaining"); err != nil {
			return inside(fmt.Sprintf("thresholds[%d]", i), err)
		}
		for _, l := range []struct {
			field string
			value *wrapperspb.UInt32Value
			to    *int
		}{
			{"max_connections", t.GetMaxConnections(), &most.MaxConnections}, {"max_pending_requests", t.GetMaxPendingRequests(), &most.MaxPending},
			{"max_requests", t.GetMaxRequests(), &most.MaxRequests}, {"max_retries", t.GetMaxRetries(), &most.MaxRetries},
		} {
			if l.value != nil && l.value.GetValue() == 0 {
				return fmt.Errorf("thresholds[%d].%s: 0 lets nothing through: send at least 1", i, l.field)
			}
			*l.to = int(min(l.value.GetValue(), 1<<30))
		}
		if high {
			out.High = &config.Breakers{MaxPending: most.MaxPending, MaxRequests: most.MaxRequests, MaxRetries: most.MaxRetries}
			continue
		}
		out.MaxConnections, out.MaxPending, out.MaxRequests, out.MaxRetries = most.MaxConnections, most.MaxPending, most.MaxRequests, most.MaxRetries
	}
	return nil
}

// translateOutlier fills in what Envoy does where a field is not sent.
func translateOutlier(o *clusterv3.OutlierDetection) (*config.Outlier, error) {
	if o == nil {
		return nil, nil
	}
	err := only(o, "consecutive_5xx", "consecutive_gateway_failure", "interval", "base_ejection_time", "max_ejection_time", "max_ejection_percent",
		"always_eject_one_host", "enforcing_consecutive_5xx", "enforcing_consecutive_gateway_failure", "enforcing_success_rate",
		"success_rate_minimum_hosts", "success_rate_request_volume", "success_rate_stdev_factor")
	if err != nil {
		return nil, err
	}
	out := &config.Outlier{MaxPercent: int(number(o.GetMaxEjectionPercent(), 10)), AlwaysOne: o.GetAlwaysEjectOneHost().GetValue()}
	all, err1 := enforced("enforcing_consecutive_5xx", o.GetEnforcingConsecutive_5Xx(), true)
	gateway, err2 := enforced("enforcing_consecutive_gateway_failure", o.GetEnforcingConsecutiveGatewayFailure(), false)
	rate, err3 := enforced("enforcing_success_rate", o.GetEnforcingSuccessRate(), true)
	var err4, err5, err6 error
	out.Interval, err4 = positive("interval", o.GetInterval(), config.DefaultOutlierInterval)
	out.BaseEjection, err5 = positive("base_ejection_time", o.GetBaseEjectionTime(), config.DefaultBaseEjection)
	out.MaxEjection, err6 = positive("max_ejection_time", o.GetMaxEjectionTime(), max(config.DefaultMaxEjection, out.BaseEjection))
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return nil, err
	}
	if all {
		out.Consecutive = int(number(o.GetConsecutive_5Xx(), config.DefaultConsecutive))
	}
	if gateway {
		out.ConsecutiveGateway = int(number(o.GetConsecutiveGatewayFailure(), config.DefaultConsecutive))
	}
	if rate {
		out.SuccessRate = &config.SuccessRate{
			Endpoints: int(number(o.GetSuccessRateMinimumHosts(), 5)), Requests: int(number(o.GetSuccessRateRequestVolume(), 100)),
			Factor: float64(number(o.GetSuccessRateStdevFactor(), 1900)) / 1000,
		}
	}
	return out, nil
}

func number(v *wrapperspb.UInt32Value, byDefault uint32) uint32 {
	if v == nil {
		return byDefault
	}
	return min(v.GetValue(), math.MaxInt32)
}

// enforced reads a percentage that is all or nothing here.
func enforced(field string, v *wrapperspb.UInt32Value, byDefault bool) (bool, error) {
	switch {
	case v == nil:
		return byDefault, nil
	case v.GetValue() == 0 || v.GetValue() == 100:
		return v.GetValue() == 100, nil
	}
	return false, fmt.Errorf("%s: %d is unsupported: send 0 or 100", field, v.GetValue())
}

func positive(field string, d *durationpb.Duration, byDefault time.Duration) (time.Duration, error) {
	v, err := duration(d)
	return cmp.Or(v, byDefault), within(field, err)
}

// translateCheck reads the one health check that a cluster may have.
func translateCheck(all []*corev3.HealthCheck) (*config.Check, error) {
	if len(all) == 0 {
		return nil, nil
	}
	if n := len(all); n > 1 {
		return nil, fmt.Errorf("health_checks: send at most 1, not %d", n)
	}
	c := all[0]
	out := &config.Check{}
	err := only(c, "timeout", "interval", "interval_jitter", "interval_jitter_percent", "initial_jitter", "unhealthy_threshold", "healthy_threshold",
		"reuse_connection", "tcp_health_check", "http_health_check", "custom_health_check")
	var err1, err2, err3 error
	out.Timeout, err1 = positive("timeout", c.GetTimeout(), 0)
	out.Interval, err2 = positive("interval", c.GetInterval(), 0)
	out.Jitter, err3 = positive("interval_jitter", c.GetIntervalJitter(), 0)
	out.Jitter = max(out.Jitter, out.Interval/100*time.Duration(min(c.GetIntervalJitterPercent(), 100)))
	out.Unhealthy, out.Healthy = int(c.GetUnhealthyThreshold().GetValue()), int(c.GetHealthyThreshold().GetValue())
	if err := errors.Join(err, err1, err2, err3, translateChecker(c, out)); err != nil {
		return nil, inside("health_checks[0]", err)
	}
	return out, nil
}

func translateChecker(c *corev3.HealthCheck, out *config.Check) error {
	switch how := c.GetHealthChecker().(type) {
	case *corev3.HealthCheck_TcpHealthCheck_:
		out.Kind = config.CheckTCP
		return inside("tcp_health_check", only(how.TcpHealthCheck))
	case *corev3.HealthCheck_HttpHealthCheck_:
		h := how.HttpHealthCheck
		out.Kind, out.Path, out.Host, out.Expect = config.CheckHTTP, h.GetPath(), h.GetHost(), [2]int{200, 201}
		if n := len(h.GetExpectedStatuses()); n > 1 {
			return fmt.Errorf("http_health_check.expected_statuses: send at most 1 range, not %d", n)
		} else if n == 1 {
			r := h.GetExpectedStatuses()[0]
			out.Expect = [2]int{int(min(r.GetStart(), 1000)), int(min(r.GetEnd(), 1000))}
		}
		return inside("http_health_check", only(h, "host", "path", "expected_statuses"))
	case *corev3.HealthCheck_CustomHealthCheck_:
		if name := how.CustomHealthCheck.GetName(); name != CheckBolt {
			return fmt.Errorf("custom_health_check.name: %q is unknown to this version: use %s", name, CheckBolt)
		}
		out.Kind = config.CheckBolt
		return nil
	}
	return errors.New("health_checker: send tcp_health_check, http_health_check or custom_health_check")
}
