package xds

import (
	"errors"
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"

	"github.com/axlemesh/axle/sidecar/config"
)

// translateHash reads what a route's requests are hashed by.
func translateHash(all []*routev3.RouteAction_HashPolicy) ([]config.HashKey, error) {
	var out []config.HashKey
	for i, p := range all {
		key := config.HashKey{Terminal: p.GetTerminal()}
		var err error
		switch how := p.GetPolicySpecifier().(type) {
		case *routev3.RouteAction_HashPolicy_Header_:
			key.Header = how.Header.GetHeaderName()
			err = inside("header", only(how.Header, "header_name"))
		case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
			key.SourceIP = how.ConnectionProperties.GetSourceIp()
		default:
			err = errors.New("policy_specifier: send header or connection_properties")
		}
		if err != nil {
			return nil, fmt.Errorf("hash_policy[%d].%w", i, err)
		}
		out = append(out, key)
	}
	return out, within("hash_policy", config.ValidateHash(out))
}

// translateHashing reads what a cluster hashes of the requests whose route does not say it.
func translateHashing(c *commonv3.ConsistentHashingLbConfig, out *config.Balancing) error {
	if c == nil {
		return nil
	}
	if err := only(c, "hash_policy"); err != nil {
		return inside("consistent_hashing_lb_config", err)
	}
	var err error
	out.Hash, err = translateHash(c.GetHashPolicy())
	return inside("consistent_hashing_lb_config", err)
}
