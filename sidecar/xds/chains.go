package xds

import (
	"errors"
	"fmt"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
)

// Values of filter_chain_match.transport_protocol.
const (
	withTLS    = "tls"
	withoutTLS = "raw_buffer"
)

// listenerTLS reads the TLS of a listener's filter chains. Two of them, for tls and for raw_buffer and else the same, are a
// permissive listener.
func listenerTLS(chains []*listenerv3.FilterChain) (*tlsBlock, error) {
	if n := len(chains); n < 1 || n > 2 {
		return nil, fmt.Errorf("filter_chains: send exactly 1, not %d; or 2, for the transport_protocol %s and %s", n, withTLS, withoutTLS)
	}
	var block *tlsBlock
	seen, blocks := map[string]bool{}, 0
	for i, c := range chains {
		b, err := chainTLS(c)
		if err != nil {
			return nil, inside(fmt.Sprintf("filter_chains[%d]", i), err)
		}
		seen[c.GetFilterChainMatch().GetTransportProtocol()] = true
		if b != nil {
			block = b
			blocks++
		}
	}
	if len(chains) == 1 {
		return block, nil
	}
	if !seen[withTLS] || len(seen) != 2 || blocks != 1 {
		return nil, fmt.Errorf("filter_chains: one of the 2 has to match the transport_protocol %s, and the other %s", withTLS, withoutTLS)
	}
	if !sameFilters(chains[0], chains[1]) {
		return nil, errors.New("filter_chains: clients with TLS and without have to be served alike: send the same filters")
	}
	block.Permissive = true
	return block, nil
}

// chainTLS wants the match of a chain to be true of it.
func chainTLS(c *listenerv3.FilterChain) (*tlsBlock, error) {
	match := c.GetFilterChainMatch()
	if err := only(match, "transport_protocol"); err != nil {
		return nil, inside("filter_chain_match", err)
	}
	if err := onlyOn(c, "name", "metadata", "filter_chain_match", "filters", "transport_socket", "transport_socket_connect_timeout"); err != nil {
		return nil, err
	}
	b, err := downstreamTLS(c.GetTransportSocket())
	if err != nil {
		return nil, within("transport_socket", err)
	}
	switch p := match.GetTransportProtocol(); {
	case p != "" && p != withTLS && p != withoutTLS:
		return nil, fmt.Errorf("filter_chain_match.transport_protocol: %q is unsupported: use %s or %s", p, withTLS, withoutTLS)
	case p == withTLS && b == nil:
		return nil, errors.New("transport_socket: TLS is not passed through: send a DownstreamTlsContext")
	case p == withoutTLS && b != nil:
		return nil, fmt.Errorf("transport_socket: there is no TLS in what matches %s", withoutTLS)
	}
	return b, nil
}

func sameFilters(a, b *listenerv3.FilterChain) bool {
	if len(a.GetFilters()) != len(b.GetFilters()) {
		return false
	}
	for i, f := range a.GetFilters() {
		if !proto.Equal(f, b.GetFilters()[i]) {
			return false
		}
	}
	return true
}
