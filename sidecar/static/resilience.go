package static

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/config"
)

// Defaults that a file leaves out.
const (
	defaultPanic          = 50
	defaultEjectedPercent = 50
)

// resilience reads how a cluster chooses its endpoints and protects them. Validate judges the values.
func (t *translator) resilience(at string, c bootstrap.Cluster, out *config.Cluster) {
	t.traits(at, c, out)
	out.Balancing = t.balancing(at+".balancing", cmp.Or(c.Balancing, &bootstrap.Balancing{}))
	if l := c.Limits; l != nil {
		out.MaxConnections, out.MaxPending, out.MaxRequests, out.MaxRetries = l.MaxConnections, l.MaxPendingRequests, l.MaxRequests, l.MaxRetries
		out.High = breakers(l.High)
	}
	out.Adaptive = t.adaptive(at+".adaptive", c.Adaptive)
	if c.Outlier != nil {
		out.Outlier = t.outlier(at+".outlier", c.Outlier)
	}
	if c.HealthCheck != nil {
		out.Check = t.check(at+".healthCheck", c)
	}
}

func (t *translator) traits(at string, c bootstrap.Cluster, out *config.Cluster) {
	for i, trait := range c.Traits {
		at := fmt.Sprintf("%s.traits[%d]", at, i)
		if !slices.Contains(c.Endpoints, trait.Endpoint) {
			t.fault("%s.endpoint: the cluster has no endpoint %q", at, trait.Endpoint)
			continue
		}
		addr := t.endpoint(at+".endpoint", trait.Endpoint)
		if _, twice := out.Traits[addr]; twice {
			t.fault("%s.endpoint: %q has traits already", at, trait.Endpoint)
			continue
		}
		if out.Traits == nil {
			out.Traits = make(map[netip.AddrPort]config.Trait)
		}
		out.Traits[addr] = config.Trait{Weight: trait.Weight, Zone: trait.Zone, Unhealthy: trait.Unhealthy}
	}
}

func (t *translator) balancing(at string, b *bootstrap.Balancing) config.Balancing {
	out := config.Balancing{
		Choices: b.Choices, TableSize: b.TableSize, Hash: hashKeys(b.Hash),
		ZoneAware: b.ZoneAware, ZoneEndpoints: b.MinEndpointsForZones, Panic: defaultPanic,
	}
	if b.PanicThreshold != nil {
		out.Panic = *b.PanicThreshold
	}
	if s := b.SlowStart; s != nil {
		out.SlowStart = config.SlowStart{
			Window: t.duration(at+".slowStart.window", s.Window, 0), Aggression: s.Aggression, MinPercent: s.MinWeightPercent,
		}
		if s.Window == "" {
			t.fault("%s.slowStart.window: it is missing", at)
		}
	}
	if b.Policy == "" {
		return out
	}
	for _, p := range config.Policies() {
		if p.String() == b.Policy {
			out.Policy = p
			return out
		}
	}
	t.fault("%s.policy: %q is none of %v", at, b.Policy, config.Policies())
	return out
}

func hashKeys(keys []bootstrap.HashKey) []config.HashKey {
	var out []config.HashKey
	for _, k := range keys {
		out = append(out, config.HashKey{Header: k.Header, SourceIP: k.SourceIP, Terminal: k.Terminal})
	}
	return out
}

func (t *translator) outlier(at string, o *bootstrap.Outlier) *config.Outlier {
	base := t.duration(at+".baseEjectionTime", o.BaseEjectionTime, config.DefaultBaseEjection)
	out := &config.Outlier{
		Consecutive: config.DefaultConsecutive, ConsecutiveGateway: o.ConsecutiveGatewayFailure,
		Interval: t.duration(at+".interval", o.Interval, config.DefaultOutlierInterval), BaseEjection: base,
		MaxEjection: t.duration(at+".maxEjectionTime", o.MaxEjectionTime, max(config.DefaultMaxEjection, base)),
		MaxPercent:  defaultEjectedPercent, AlwaysOne: o.AlwaysEjectOneHost,
	}
	if o.Consecutive5xx != nil {
		out.Consecutive = *o.Consecutive5xx
	}
	if o.MaxEjectionPercent != nil {
		out.MaxPercent = *o.MaxEjectionPercent
	}
	if r := o.SuccessRate; r != nil {
		out.SuccessRate = &config.SuccessRate{
			Endpoints: cmp.Or(r.MinimumHosts, 5), Requests: cmp.Or(r.RequestVolume, 100), Factor: cmp.Or(r.StdevFactor, 1.9),
		}
	}
	return out
}

func (t *translator) check(at string, c bootstrap.Cluster) *config.Check {
	h := c.HealthCheck
	out := &config.Check{
		Interval: t.duration(at+".interval", h.Interval, 5*time.Second), Jitter: t.duration(at+".jitter", h.Jitter, time.Second),
		Timeout:   t.duration(at+".timeout", h.Timeout, time.Second),
		Unhealthy: cmp.Or(h.UnhealthyThreshold, 3), Healthy: cmp.Or(h.HealthyThreshold, 2),
	}
	switch h.Kind {
	case "tcp":
		out.Kind = config.CheckTCP
	case "http":
		out.Kind, out.Path, out.Host, out.Expect = config.CheckHTTP, cmp.Or(h.Path, "/"), cmp.Or(h.Host, c.Name), [2]int{200, 300}
	case "bolt":
		out.Kind = config.CheckBolt
	default:
		t.fault("%s.kind: %q is none of tcp, http, bolt", at, h.Kind)
	}
	return out
}
