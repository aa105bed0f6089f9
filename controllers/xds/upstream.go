package xds

import (
	"fmt"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// ruleKey is where a cluster's metadata names the rule whose upstream it has, for people.
const ruleKey = "rule"

// Names that only our sidecars know.
const (
	policyPeakEWMA = "axlemesh.io/peak_ewma"
	checkBolt      = "axlemesh.io/bolt"
)

// What an Upstream leaves out and the schema has no default for, or a rule that was not written through the API server.
const (
	defaultPanic       = 50
	defaultSlowStart   = 10
	defaultMaxEjected  = 50
	defaultErrors      = 5
	defaultInterval    = 10 * time.Second
	defaultBase        = 30 * time.Second
	defaultMaxEjection = 5 * time.Minute
	defaultCheck       = 5 * time.Second
	defaultPatience    = time.Second
	jitterPercent      = 20
)

// claimUpstream is the port of another, older rule with an upstream; ok is true when there is none.
func (c *compiler) claimUpstream(rule *axlev1.TrafficRule, ports []corev1.ServicePort) (message string, ok bool) {
	if rule.Spec.Upstream == nil {
		return "", true
	}
	for _, p := range ports {
		if owner := c.owners[p.Port]; owner != nil && owner != rule {
			return fmt.Sprintf("TrafficRule %s is older and has an upstream for port %d of Service %s: change or remove one of them.", owner.Name, p.Port, c.Service.Name), false
		}
	}
	return "", true
}

// own puts the upstream of a rule in force for some ports of the Service.
func (c *compiler) own(rule *axlev1.TrafficRule, parent int, ports []corev1.ServicePort, report *Report) {
	up := rule.Spec.Upstream
	if up == nil {
		return
	}
	asked := false
	for _, p := range ports {
		c.owners[p.Port], c.upstreams[p.Port] = rule, InForce{nameOf(rule).String(), up}
		report.Clusters = append(report.Clusters, ClusterName(c.Service.Namespace, c.Service.Name, p.Port))
		asked = asked || protocolOf(p) == protocolHTTP
	}
	if up.HealthCheck != nil && up.HealthCheck.HTTP != nil && !asked {
		at := place{nameOf(rule), parent}
		c.problems[at] = append(c.problems[at], problem{ReasonProtocolMismatch, fmt.Sprintf(
			"upstream.healthCheck.http: Service %s has no HTTP/1 port that the rule is for, so nobody is asked with a GET: set the port's appProtocol to http.", c.Service.Name)})
	}
}

// parentPorts are the TCP ports of the Service that a parent means; 0 means all.
func (c *compiler) parentPorts(port int32) []corev1.ServicePort {
	var all []corev1.ServicePort
	for _, p := range tcpPorts(c.Service) {
		if port == 0 || p.Port == port {
			all = append(all, p)
		}
	}
	return all
}

// InForce is an upstream that is in force for a port, and the TrafficRule that it is of. The zero value is none.
type InForce struct {
	Rule     string // NAMESPACE/NAME
	Upstream *axlev1.Upstream
}

// apply makes a cluster use its endpoints as an upstream says. It names the rule, too: a cluster that becomes a rule's, or another rule's, is
// sent and acknowledged anew even where nothing else of it changes.
func apply(by InForce, svc *corev1.Service, port corev1.ServicePort, c *clusterv3.Cluster) {
	up := by.Upstream
	if up == nil {
		return
	}
	c.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataKey: {
		Fields: map[string]*structpb.Value{ruleKey: structpb.NewStringValue(by.Rule)},
	}}}
	if up.ConnectTimeout != nil {
		c.ConnectTimeout = durationpb.New(up.ConnectTimeout.Duration)
	}
	if up.Balancing != nil {
		balance(up.Balancing, protocolOf(port), c)
	}
	if up.OutlierDetection != nil {
		c.OutlierDetection = outliers(up.OutlierDetection)
	}
	if b := up.CircuitBreakers; b != nil {
		c.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: most(b.MaxConnections), MaxPendingRequests: most(b.MaxPendingRequests),
			MaxRequests: most(b.MaxRequests), MaxRetries: most(b.MaxRetries),
		}}}
	}
	if up.HealthCheck != nil {
		c.HealthChecks = []*corev3.HealthCheck{check(up.HealthCheck, svc, protocolOf(port))}
	}
}

// most is a limit; 0 is none.
func most(n int32) *wrapperspb.UInt32Value {
	if n <= 0 {
		return nil
	}
	return number(n)
}

func number(n int32) *wrapperspb.UInt32Value {
	return wrapperspb.UInt32(uint32(max(n, 0))) //nolint:gosec // not negative
}

func balance(b *axlev1.Balancing, speaks protocol, c *clusterv3.Cluster) {
	if b.PanicThreshold != nil {
		if c.CommonLbConfig == nil {
			c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{}
		}
		c.CommonLbConfig.HealthyPanicThreshold = &typev3.Percent{Value: float64(axlev1.Percent(b.PanicThreshold, defaultPanic))}
	}
	switch b.Policy {
	case axlev1.LeastRequest:
		c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		least := &clusterv3.Cluster_LeastRequestLbConfig{ChoiceCount: most(b.Choices), SlowStartConfig: slowStart(b.SlowStart)}
		if least.ChoiceCount != nil || least.SlowStartConfig != nil {
			c.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: least}
		}
	case axlev1.Random:
		c.LbPolicy = clusterv3.Cluster_RANDOM
	case axlev1.PeakEWMA:
		c.LoadBalancingPolicy = policy(policyPeakEWMA, &emptypb.Empty{})
	case axlev1.RingHash:
		c.LoadBalancingPolicy = policy("envoy.load_balancing_policies.ring_hash", &ringv3.RingHash{ConsistentHashingLbConfig: hashing(b, speaks)})
	case axlev1.Maglev:
		c.LoadBalancingPolicy = policy("envoy.load_balancing_policies.maglev", &maglevv3.Maglev{ConsistentHashingLbConfig: hashing(b, speaks)})
	default:
		if s := slowStart(b.SlowStart); s != nil {
			c.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: s}}
		}
	}
}

func policy(name string, m proto.Message) *clusterv3.LoadBalancingPolicy {
	return &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
		TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: packed(m)},
	}}}
}

// hashing says in the cluster what is hashed: its requests come by routes of many rules.
func hashing(b *axlev1.Balancing, speaks protocol) *commonv3.ConsistentHashingLbConfig {
	var names []string
	for _, name := range b.HashHeaders {
		names = append(names, headerName(speaks, name))
	}
	return &commonv3.ConsistentHashingLbConfig{HashPolicy: hashPolicies(names...)}
}

func slowStart(s *axlev1.SlowStart) *clusterv3.Cluster_SlowStartConfig {
	if s == nil {
		return nil
	}
	return &clusterv3.Cluster_SlowStartConfig{
		SlowStartWindow:  durationpb.New(s.Window.Duration),
		MinWeightPercent: &typev3.Percent{Value: float64(axlev1.Percent(s.From, defaultSlowStart))},
	}
}

// outliers says of each thing that Envoy would watch by itself whether it is watched.
func outliers(o *axlev1.OutlierDetection) *clusterv3.OutlierDetection {
	enforced := func(on bool) *wrapperspb.UInt32Value {
		if on {
			return number(100)
		}
		return number(0)
	}
	out := &clusterv3.OutlierDetection{
		Interval: lasting(o.Interval, defaultInterval), BaseEjectionTime: lasting(o.BaseEjectionTime, defaultBase),
		MaxEjectionTime: lasting(o.MaxEjectionTime, defaultMaxEjection), MaxEjectionPercent: number(axlev1.Percent(o.MaxEjected, defaultMaxEjected)),
		EnforcingConsecutiveGatewayFailure: enforced(o.ConsecutiveGatewayErrors > 0), EnforcingSuccessRate: enforced(o.SuccessRate != nil),
		ConsecutiveGatewayFailure: most(o.ConsecutiveGatewayErrors),
	}
	errors := valueOr(o.ConsecutiveErrors, defaultErrors)
	out.Consecutive_5Xx, out.EnforcingConsecutive_5Xx = most(errors), enforced(errors > 0)
	if r := o.SuccessRate; r != nil {
		out.SuccessRateMinimumHosts, out.SuccessRateRequestVolume = number(valueOr(r.Endpoints, 5)), number(valueOr(r.Requests, 100))
		out.SuccessRateStdevFactor = number(r.Thousandths())
	}
	return out
}

// check asks in the words of the port's protocol.
func check(h *axlev1.HealthCheck, svc *corev1.Service, speaks protocol) *corev3.HealthCheck {
	out := &corev3.HealthCheck{
		Interval: lasting(h.Interval, defaultCheck), Timeout: lasting(h.Timeout, defaultPatience), IntervalJitterPercent: jitterPercent,
		UnhealthyThreshold: number(valueOr(h.UnhealthyThreshold, 3)), HealthyThreshold: number(valueOr(h.HealthyThreshold, 2)),
	}
	switch {
	case speaks == protocolBolt:
		out.HealthChecker = &corev3.HealthCheck_CustomHealthCheck_{CustomHealthCheck: &corev3.HealthCheck_CustomHealthCheck{Name: checkBolt}}
	case speaks == protocolHTTP && h.HTTP != nil:
		host := h.HTTP.Hostname
		if host == "" {
			host = ownKey(svc)
		}
		out.HealthChecker = &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: &corev3.HealthCheck_HttpHealthCheck{
			Path: h.HTTP.Path, Host: host, ExpectedStatuses: []*typev3.Int64Range{{Start: 200, End: 300}},
		}}
	default:
		out.HealthChecker = &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{}}
	}
	return out
}

func lasting(d *metav1.Duration, byDefault time.Duration) *durationpb.Duration {
	if d == nil {
		return durationpb.New(byDefault)
	}
	return durationpb.New(d.Duration)
}

func valueOr(n *int32, byDefault int32) int32 {
	if n == nil {
		return byDefault
	}
	return *n
}
