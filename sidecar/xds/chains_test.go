package xds

import (
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
)

// chain is inbound's, for a transport protocol, with TLS or without.
func chain(transport string, secure bool) *listenerv3.FilterChain {
	c := inbound().GetFilterChains()[0]
	if secure {
		c = secured(&tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{pairs()[0].proto()}}).GetFilterChains()[0]
	}
	if transport != "" {
		c.FilterChainMatch = &listenerv3.FilterChainMatch{TransportProtocol: transport}
	}
	return c
}

func TestFilterChains(t *testing.T) {
	named := chain("", true)
	named.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: []string{"a.test"}}
	other := chain("", false)
	other.Filters = outbound().GetFilterChains()[0].GetFilters()
	cases := map[string]struct {
		in         []*listenerv3.FilterChain
		permissive bool
		err        string
	}{
		"TLS":                    {in: []*listenerv3.FilterChain{chain("", true)}},
		"TLS that says so":       {in: []*listenerv3.FilterChain{chain("tls", true)}},
		"both":                   {in: []*listenerv3.FilterChain{chain("tls", true), chain("raw_buffer", false)}, permissive: true},
		"both, plain by default": {in: []*listenerv3.FilterChain{chain("", false), chain("tls", true)}, permissive: true},
		"three":                  {in: []*listenerv3.FilterChain{chain("tls", true), chain("raw_buffer", false), chain("", false)}, err: "send exactly 1, not 3"},
		"TLS twice":              {in: []*listenerv3.FilterChain{chain("tls", true), chain("tls", true)}, err: "one of the 2 has to match"},
		"TLS with and without":   {in: []*listenerv3.FilterChain{chain("tls", true), chain("", true)}, err: "one of the 2 has to match"},
		"TLS by default":         {in: []*listenerv3.FilterChain{chain("", true), chain("raw_buffer", false)}, err: "one of the 2 has to match"},
		"a name":                 {in: []*listenerv3.FilterChain{named}, err: "filter_chains[0].filter_chain_match.server_names: unsupported"},
		"passed through":         {in: []*listenerv3.FilterChain{chain("tls", false)}, err: "filter_chains[0].transport_socket: TLS is not passed through"},
		"TLS without TLS":        {in: []*listenerv3.FilterChain{chain("raw_buffer", true)}, err: "filter_chains[0].transport_socket: there is no TLS in what matches raw_buffer"},
		"another transport":      {in: []*listenerv3.FilterChain{chain("quic", false)}, err: `"quic" is unsupported`},
		"another application":    {in: []*listenerv3.FilterChain{chain("tls", true), other}, err: "send the same filters"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			l := proto.Clone(inbound()).(*listenerv3.Listener)
			l.FilterChains = tc.in
			got, err := translateListener(l)
			said(t, err, tc.err)
			if err == nil && (got.tls == nil || got.tls.Permissive != tc.permissive) {
				t.Errorf("TLS %+v, want permissive %t", got.tls, tc.permissive)
			}
		})
	}
}
