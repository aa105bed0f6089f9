package xds

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/axlemesh/axle/sidecar/config"
)

// PolicyPeakEWMA is the name of the one policy that Envoy has no message for; what its typed_config says is not looked at.
const PolicyPeakEWMA = "axlemesh.io/peak_ewma"

// defaultPanic is the percentage of well endpoints below which all get requests, as Envoy has it.
const defaultPanic = 50

// endpoints of one assignment.
type endpoints struct {
	addrs  []netip.AddrPort
	traits map[netip.AddrPort]config.Trait
}

// translateEndpoints returns the endpoints that take traffic, sorted and unique. Those that drain are left out: their
// connections finish what they have.
func translateEndpoints(a *endpointv3.ClusterLoadAssignment) (endpoints, error) {
	var out endpoints
	for i, locality := range a.GetEndpoints() {
		if p := locality.GetPriority(); p != 0 {
			return out, fmt.Errorf("endpoints[%d].priority: %d is unsupported by this version: send 0", i, p)
		}
		for j, e := range locality.GetLbEndpoints() {
			if e.GetHealthStatus() == corev3.HealthStatus_DRAINING {
				continue
			}
			if err := out.add(e, locality.GetLocality().GetZone()); err != nil {
				return out, fmt.Errorf("endpoints[%d].lb_endpoints[%d].%w", i, j, err)
			}
		}
	}
	slices.SortFunc(out.addrs, netip.AddrPort.Compare)
	out.addrs = slices.Compact(out.addrs)
	return out, nil
}

func (out *endpoints) add(e *endpointv3.LbEndpoint, zone string) error {
	at, err := endpointAddress(e.GetEndpoint().GetAddress())
	if err != nil {
		return within("endpoint.address", err)
	}
	if len(out.addrs) == maxEndpoints {
		return fmt.Errorf("endpoint: there are more than %d endpoints", maxEndpoints)
	}
	t := config.Trait{Zone: zone, Weight: e.GetLoadBalancingWeight().GetValue()}
	if e.GetLoadBalancingWeight() != nil && (t.Weight < 1 || t.Weight > config.MaxWeight) {
		return fmt.Errorf("load_balancing_weight: %d is not between 1 and %d", t.Weight, config.MaxWeight)
	}
	if t.Weight == 1 {
		t.Weight = 0
	}
	switch e.GetHealthStatus() {
	case corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY, corev3.HealthStatus_DEGRADED:
	default:
		t.Unhealthy = true
	}
	out.addrs = append(out.addrs, at)
	if _, twice := out.traits[at]; twice || t == (config.Trait{}) {
		return nil
	}
	if out.traits == nil {
		out.traits = make(map[netip.AddrPort]config.Trait)
	}
	out.traits[at] = t
	return nil
}

// translateBalancing reads lb_policy or load_balancing_policy, and what both share.
func translateBalancing(c *clusterv3.Cluster, out *config.Balancing) error {
	if err := translateCommon(c.GetCommonLbConfig(), out); err != nil {
		return inside("common_lb_config", err)
	}
	if p := c.GetLoadBalancingPolicy(); p != nil {
		return inside("load_balancing_policy", translatePolicy(p, out))
	}
	switch c.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
		s := c.GetRoundRobinLbConfig().GetSlowStartConfig()
		return inside("round_robin_lb_config", translateSlowStart(s, s != nil, out))
	case clusterv3.Cluster_LEAST_REQUEST:
		l := c.GetLeastRequestLbConfig()
		return inside("least_request_lb_config", translateLeast(l, l.GetSlowStartConfig(), l.GetSlowStartConfig() != nil, out))
	case clusterv3.Cluster_RANDOM:
		out.Policy = config.Random
	case clusterv3.Cluster_RING_HASH:
		r := c.GetRingHashLbConfig()
		if f := r.GetHashFunction(); f != clusterv3.Cluster_RingHashLbConfig_XX_HASH {
			return fmt.Errorf("ring_hash_lb_config.hash_function: %s is unsupported: leave the default, which is a hash of our own", f)
		}
		translateRing(r.GetMinimumRingSize(), r.GetMaximumRingSize(), out)
	case clusterv3.Cluster_MAGLEV:
		return inside("maglev_lb_config", translateMaglev(c.GetMaglevLbConfig().GetTableSize(), out))
	default:
		return fmt.Errorf("lb_policy: %s is unsupported: use ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH, MAGLEV or load_balancing_policy", c.GetLbPolicy())
	}
	return nil
}

func translateCommon(c *clusterv3.Cluster_CommonLbConfig, out *config.Balancing) error {
	out.Panic = defaultPanic
	if c == nil {
		return nil
	}
	if err := only(c, "healthy_panic_threshold", "zone_aware_lb_config", "update_merge_window"); err != nil {
		return err
	}
	if p := c.GetHealthyPanicThreshold(); p != nil {
		if !(p.GetValue() >= 0 && p.GetValue() <= 100) {
			return fmt.Errorf("healthy_panic_threshold: %v is not between 0 and 100", p.GetValue())
		}
		out.Panic = int(math.Ceil(p.GetValue()))
	}
	z := c.GetZoneAwareLbConfig()
	if z == nil {
		return nil
	}
	return inside("zone_aware_lb_config", translateZones(z, z.GetRoutingEnabled(), z.GetMinClusterSize(), out))
}

// translateZones reads what both zone-aware messages have. They mean all requests or none.
func translateZones(m proto.Message, enabled *typev3.Percent, least *wrapperspb.UInt64Value, out *config.Balancing) error {
	if err := only(m, "routing_enabled", "min_cluster_size"); err != nil {
		return err
	}
	if enabled != nil && enabled.GetValue() != 0 && enabled.GetValue() != 100 {
		return fmt.Errorf("routing_enabled: %v is unsupported: send 0 or 100", enabled.GetValue())
	}
	out.ZoneAware = enabled == nil || enabled.GetValue() == 100
	out.ZoneEndpoints = int(min(least.GetValue(), math.MaxInt32))
	return nil
}

func translateLocality(l *commonv3.LocalityLbConfig, out *config.Balancing) error {
	if l == nil {
		return nil
	}
	if err := only(l, "zone_aware_lb_config"); err != nil {
		return inside("locality_lb_config", err)
	}
	z := l.GetZoneAwareLbConfig()
	return inside("locality_lb_config.zone_aware_lb_config", translateZones(z, z.GetRoutingEnabled(), z.GetMinClusterSize(), out))
}

// translatePolicy takes the first policy of the list that this version knows, as Envoy does.
func translatePolicy(p *clusterv3.LoadBalancingPolicy, out *config.Balancing) error {
	for i, one := range p.GetPolicies() {
		e := one.GetTypedExtensionConfig()
		if e.GetName() == PolicyPeakEWMA {
			out.Policy = config.PeakEWMA
			return nil
		}
		for _, known := range []proto.Message{&roundv3.RoundRobin{}, &leastv3.LeastRequest{}, &randomv3.Random{}, &ringv3.RingHash{}, &maglevv3.Maglev{}} {
			if !e.GetTypedConfig().MessageIs(known) {
				continue
			}
			err := e.GetTypedConfig().UnmarshalTo(known)
			if err == nil {
				err = translateExtension(known, out)
			}
			if err != nil {
				return fmt.Errorf("policies[%d].typed_extension_config.typed_config.%w", i, err)
			}
			return nil
		}
	}
	return fmt.Errorf("policies: none is known to this version: use RoundRobin, LeastRequest, Random, RingHash, Maglev or the name %s", PolicyPeakEWMA)
}

func translateExtension(m proto.Message, out *config.Balancing) error {
	switch p := m.(type) {
	case *roundv3.RoundRobin:
		if err := only(p, "slow_start_config", "locality_lb_config"); err != nil {
			return err
		}
		return errors.Join(translateSlowStart(p.GetSlowStartConfig(), p.GetSlowStartConfig() != nil, out), translateLocality(p.GetLocalityLbConfig(), out))
	case *leastv3.LeastRequest:
		err := translateLeast(p, p.GetSlowStartConfig(), p.GetSlowStartConfig() != nil, out)
		return errors.Join(err, translateLocality(p.GetLocalityLbConfig(), out))
	case *randomv3.Random:
		out.Policy = config.Random
		return errors.Join(only(p, "locality_lb_config"), translateLocality(p.GetLocalityLbConfig(), out))
	case *ringv3.RingHash:
		if p.GetHashFunction() > ringv3.RingHash_XX_HASH {
			return fmt.Errorf("hash_function: %s is unsupported", p.GetHashFunction())
		}
		translateRing(p.GetMinimumRingSize(), p.GetMaximumRingSize(), out)
		return errors.Join(only(p, "hash_function", "minimum_ring_size", "maximum_ring_size", "consistent_hashing_lb_config"),
			translateHashing(p.GetConsistentHashingLbConfig(), out))
	case *maglevv3.Maglev:
		return errors.Join(only(p, "table_size", "consistent_hashing_lb_config"), translateMaglev(p.GetTableSize(), out),
			translateHashing(p.GetConsistentHashingLbConfig(), out))
	}
	return nil
}

// slowStart is what both messages of a slow start have.
type slowStart interface {
	GetSlowStartWindow() *durationpb.Duration
	GetAggression() *corev3.RuntimeDouble
	GetMinWeightPercent() *typev3.Percent
}

func translateSlowStart(s slowStart, set bool, out *config.Balancing) error {
	if !set {
		return nil
	}
	window, err := duration(s.GetSlowStartWindow())
	if err != nil {
		return within("slow_start_config.slow_start_window", err)
	}
	out.SlowStart = config.SlowStart{
		Window: window, Aggression: s.GetAggression().GetDefaultValue(), MinPercent: s.GetMinWeightPercent().GetValue(),
	}
	return nil
}

// leastRequest is what both messages of the policy have.
type leastRequest interface {
	proto.Message
	GetChoiceCount() *wrapperspb.UInt32Value
	GetActiveRequestBias() *corev3.RuntimeDouble
}

func translateLeast(l leastRequest, s slowStart, slow bool, out *config.Balancing) error {
	out.Policy = config.LeastRequest
	if err := only(l, "choice_count", "active_request_bias", "slow_start_config", "locality_lb_config"); err != nil {
		return err
	}
	if b := l.GetActiveRequestBias(); b != nil && b.GetDefaultValue() != 1 {
		return fmt.Errorf("active_request_bias: %v is unsupported: leave 1", b.GetDefaultValue())
	}
	out.Choices = int(min(l.GetChoiceCount().GetValue(), math.MaxInt32))
	return translateSlowStart(s, slow, out)
}

func translateRing(least, most *wrapperspb.UInt64Value, out *config.Balancing) {
	out.Policy = config.RingHash
	size := cmp.Or(least.GetValue(), config.DefaultRing)
	if most != nil {
		size = min(size, max(most.GetValue(), 1))
	}
	out.TableSize = int(min(size, config.MaxRing)) // as Envoy: a size is a wish
}

func translateMaglev(size *wrapperspb.UInt64Value, out *config.Balancing) error {
	out.Policy = config.Maglev
	if size.GetValue() > config.MaxMaglev {
		return fmt.Errorf("table_size: %d is more than %d", size.GetValue(), config.MaxMaglev)
	}
	out.TableSize = int(size.GetValue())
	return nil
}
