package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/axlemesh/axle/sidecar/address"
)

// Validate reports every mistake of s at once, each naming the object it is in; nil when the loops can serve it.
func (s *Snapshot) Validate() error {
	var errs []error
	names := make(map[string]bool)
	addrs := make(map[netip.AddrPort]string)
	for i, l := range s.Listeners {
		errs = append(errs, l.validate(i, s.Clusters)...)
		if l.Name != "" && names[l.Name] {
			errs = append(errs, fmt.Errorf("listener %q: the name is used twice", l.Name))
		}
		names[l.Name] = true
		if l.Address.Port() == 0 {
			continue
		}
		if other, ok := addrs[l.Address]; ok {
			errs = append(errs, fmt.Errorf("listener %q: address %s is taken by listener %q", l.Name, l.Address, other))
		}
		addrs[l.Address] = l.Name
	}
	for _, key := range slices.Sorted(maps.Keys(s.Hosts)) {
		errs = append(errs, s.Hosts[key].validate(key, s.Clusters)...)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Clusters)) {
		errs = append(errs, s.Clusters[key].validate(key)...)
	}
	return errors.Join(errs...)
}

func (l Listener) validate(i int, clusters map[string]*Cluster) []error {
	var errs []error
	name := fmt.Sprintf("listener %q", l.Name)
	if l.Name == "" {
		name = fmt.Sprintf("listener %d", i)
		errs = append(errs, fmt.Errorf("%s: it has no name", name))
	}
	if !l.Address.Addr().IsValid() {
		errs = append(errs, fmt.Errorf("%s: it has no address", name))
	}
	if l.Protocol > Auto {
		errs = append(errs, fmt.Errorf("%s: unknown protocol %d", name, l.Protocol))
	}
	if l.Direction != Inbound && l.Direction != Outbound {
		errs = append(errs, fmt.Errorf("%s: unknown direction %d", name, l.Direction))
	}
	if p := l.SamplePercent; p != nil && !(*p >= 0 && *p <= 100) {
		errs = append(errs, fmt.Errorf("%s: %v percent of all requests cannot be sampled: use 0 to 100", name, *p))
	}
	if err := l.Limit.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	if l.Protocol == TCP && l.Limit != (Limit{}) {
		errs = append(errs, fmt.Errorf("%s: tcp has no requests to limit", name))
	}
	switch {
	case l.Cluster == "" && l.Protocol == TCP:
		errs = append(errs, fmt.Errorf("%s: tcp carries no service to route by: it needs a cluster", name))
	case l.Cluster != "" && clusters[l.Cluster] == nil:
		errs = append(errs, fmt.Errorf("%s: there is no cluster %q", name, l.Cluster))
	}
	for _, err := range l.TLS.validateListener() {
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	return errs
}

func (c *Cluster) validate(key string) []error {
	if c == nil {
		return []error{fmt.Errorf("cluster %q: it is nil", key)}
	}
	var errs []error
	if c.Name != key {
		errs = append(errs, fmt.Errorf("cluster %q: its own name is %q", key, c.Name))
	}
	for i, e := range c.Endpoints {
		if !address.Dialable(e) {
			errs = append(errs, fmt.Errorf("cluster %q: endpoint %d: %s is no address to connect to", key, i, e))
		}
		if i > 0 && e.Compare(c.Endpoints[i-1]) <= 0 {
			errs = append(errs, fmt.Errorf("cluster %q: endpoint %d: %s is out of order or there twice", key, i, address.String(e)))
		}
	}
	if c.ConnectTimeout < 0 {
		errs = append(errs, fmt.Errorf("cluster %q: connect timeout %s is negative", key, c.ConnectTimeout))
	}
	if c.Connections < 1 {
		errs = append(errs, fmt.Errorf("cluster %q: %d connections to an endpoint are too few", key, c.Connections))
	}
	for _, err := range c.TLS.validateCluster() {
		errs = append(errs, fmt.Errorf("cluster %q: %w", key, err))
	}
	if err := c.Validate(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			errs = append(errs, fmt.Errorf("cluster %q: %s", key, line))
		}
	}
	return errs
}

// Validate reports every mistake in how c chooses endpoints and protects them.
func (c *Cluster) Validate() error {
	return errors.Join(slices.Concat(c.validateLimits(), c.validateBalancing(), c.Outlier.validate(), c.Check.validate())...)
}

func (c *Cluster) validateLimits() []error {
	var errs []error
	for _, l := range []struct {
		of string
		n  int
	}{{"connections", c.MaxConnections}, {"pending requests", c.MaxPending}, {"requests", c.MaxRequests}, {"retries", c.MaxRetries}} {
		if l.n < 0 {
			errs = append(errs, fmt.Errorf("the limit of %s %d is negative", l.of, l.n))
		}
	}
	if err := c.High.validate(); err != nil {
		errs = append(errs, err)
	}
	return append(errs, c.Adaptive.validate()...)
}
