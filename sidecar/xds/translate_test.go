package xds

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/config"
)

var (
	ap    = netip.MustParseAddrPort
	equal = cmp.Options{cmpopts.EquateComparable(netip.AddrPort{}), cmp.AllowUnexported(cluster{}, host{}, endpoints{})}
)

// said fails unless err contains want; an empty want means no error.
func said(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("rejected: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestTranslateListener(t *testing.T) {
	in, out := corev3.TrafficDirection_INBOUND, corev3.TrafficDirection_OUTBOUND
	twoFilters := inbound()
	twoFilters.FilterChains[0].Filters = append(twoFilters.FilterChains[0].Filters, twoFilters.FilterChains[0].Filters[0])
	cases := map[string]struct {
		in   *listenerv3.Listener
		want config.Listener
		err  string
	}{
		"inbound bolt": {
			in:   inbound(),
			want: config.Listener{Name: "inbound/15200", Address: ap("0.0.0.0:15200"), Protocol: config.Bolt, Cluster: "inbound/12200"},
		},
		"inbound tcp": {
			in:   listener("l", "::", 1, in, FilterTCP, tcpProxy("c")),
			want: config.Listener{Name: "l", Address: ap("[::]:1"), Protocol: config.TCP, Cluster: "c"},
		},
		"outbound bolt is routed by service": {
			in:   outbound(),
			want: config.Listener{Name: "outbound/bolt", Address: ap("127.0.0.1:12220"), Protocol: config.Bolt, Direction: config.Outbound},
		},
		"inbound dubbo": {
			in:   listener("inbound/23880", "0.0.0.0", 23880, in, FilterDubbo, tcpProxy("inbound/20880")),
			want: config.Listener{Name: "inbound/23880", Address: ap("0.0.0.0:23880"), Protocol: config.Dubbo, Cluster: "inbound/20880"},
		},
		"outbound dubbo is routed by service": {
			in:   listener("outbound/dubbo", "127.0.0.1", 12230, out, FilterDubbo, routed()),
			want: config.Listener{Name: "outbound/dubbo", Address: ap("127.0.0.1:12230"), Protocol: config.Dubbo, Direction: config.Outbound},
		},
		"inbound http2": {
			in:   listener("l", "::", 1, in, FilterHTTP2, tcpProxy("c")),
			want: config.Listener{Name: "l", Address: ap("[::]:1"), Protocol: config.HTTP2, Cluster: "c"},
		},
		"outbound http2 is routed by authority": {
			in:   listener("l", "::", 1, out, FilterHTTP2, routed()),
			want: config.Listener{Name: "l", Address: ap("[::]:1"), Protocol: config.HTTP2, Direction: config.Outbound},
		},
		"no address":            {in: &listenerv3.Listener{Name: "l"}, err: "address: send a socket_address"},
		"a name as address":     {in: listener("l", "localhost", 1, in, FilterTCP, tcpProxy("c")), err: `"localhost" is no IP address`},
		"a port out of range":   {in: listener("l", "::", 65536, in, FilterTCP, tcpProxy("c")), err: "65536 is no port"},
		"no direction":          {in: listener("l", "::", 1, 0, FilterTCP, tcpProxy("c")), err: "set INBOUND or OUTBOUND"},
		"no filter chain":       {in: &listenerv3.Listener{Address: socket("::", 1), TrafficDirection: in}, err: "filter_chains: send exactly 1, not 0"},
		"two filters":           {in: twoFilters, err: "filters: send exactly 1, not 2"},
		"an unknown filter":     {in: listener("l", "::", 1, in, "envoy.filters.network.redis", tcpProxy("c")), err: "is unknown to this version: use axlemesh.io/bolt"},
		"no cluster":            {in: listener("l", "::", 1, in, FilterBolt, tcpProxy("")), err: "cluster: name one cluster"},
		"tcp cannot be routed":  {in: listener("l", "::", 1, out, FilterTCP, routed()), err: "tcp carries no service"},
		"inline routes":         {in: listener("l", "::", 1, out, FilterBolt, &hcmv3.HttpConnectionManager{}), err: "set route_config_name"},
		"another configuration": {in: listener("l", "::", 1, out, FilterBolt, &listenerv3.Listener{}), err: "use TcpProxy or HttpConnectionManager"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := translateListener(tc.in)
			said(t, err, tc.err)
			if diff := cmp.Diff(tc.want, got.Listener, equal); err == nil && diff != "" {
				t.Errorf("listener (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTranslateCluster(t *testing.T) {
	static := &clusterv3.Cluster{Name: "s", LoadAssignment: assignment("s", 2, 1, 2), CircuitBreakers: &clusterv3.CircuitBreakers{
		Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxRequests: wrapperspb.UInt32(7)}, {Priority: corev3.RoutingPriority_HIGH, MaxRequests: wrapperspb.UInt32(8)}},
	}}
	cases := map[string]struct {
		in   *clusterv3.Cluster
		want cluster
		err  string
	}{
		"static": {in: static, want: cluster{Cluster: config.Cluster{
			Name: "s", Endpoints: []netip.AddrPort{ap("10.0.0.1:1"), ap("10.0.0.1:2")}, ConnectTimeout: time.Second, Connections: 1, MaxRequests: 7, High: &config.Breakers{MaxRequests: 8},
			Balancing: config.Balancing{Panic: 50},
		}}},
		"eds":                {in: edsCluster("e"), want: cluster{Cluster: config.Cluster{Name: "e", ConnectTimeout: 2 * time.Second, Connections: 1, Balancing: config.Balancing{Panic: 50}}, eds: "e"}},
		"a negative timeout": {in: &clusterv3.Cluster{ConnectTimeout: durationpb.New(-1)}, err: "connect_timeout: -1ns is negative"},
		"an invalid timeout": {in: &clusterv3.Cluster{ConnectTimeout: &durationpb.Duration{Seconds: 1 << 60}}, err: "connect_timeout: "},
		"another balancer":   {in: &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_CLUSTER_PROVIDED}, err: "use ROUND_ROBIN"},
		"DNS":                {in: &clusterv3.Cluster{ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}}, err: "use EDS or STATIC"},
		"Unix-domain sockets": {
			in: &clusterv3.Cluster{Name: "s", LoadAssignment: pipes("/run/app.sock", "@app")},
			want: cluster{Cluster: config.Cluster{
				Name: "s", Endpoints: []netip.AddrPort{unixAddr(t, "/run/app.sock"), unixAddr(t, "@app")}, ConnectTimeout: time.Second, Connections: 1,
				Balancing: config.Balancing{Panic: 50},
			}},
		},
		"a bad pipe":     {in: &clusterv3.Cluster{LoadAssignment: pipes("app.sock")}, err: `endpoint.address: pipe.path: "app.sock" is no absolute path`},
		"a bad endpoint": {in: &clusterv3.Cluster{LoadAssignment: assignment("s", 0)}, err: "load_assignment: endpoints[0].lb_endpoints[0].endpoint.address: port_value: 0"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := translateCluster(tc.in)
			said(t, err, tc.err)
			if diff := cmp.Diff(tc.want, got, equal); err == nil && diff != "" {
				t.Errorf("cluster (-want +got):\n%s", diff)
			}
		})
	}
}

func pipes(paths ...string) *endpointv3.ClusterLoadAssignment {
	l := &endpointv3.LocalityLbEndpoints{}
	for _, p := range paths {
		l.LbEndpoints = append(l.LbEndpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: p}}},
		}}})
	}
	return &endpointv3.ClusterLoadAssignment{Endpoints: []*endpointv3.LocalityLbEndpoints{l}}
}

func unixAddr(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	a, err := address.Unix(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
