package xds

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/config"
)

// Names of the network filters that choose a listener's protocol.
const (
	FilterBolt  = "axlemesh.io/bolt"
	FilterDubbo = "axlemesh.io/dubbo"
	FilterTCP   = "axlemesh.io/tcp"
	FilterHTTP1 = "axlemesh.io/http1"
	FilterHTTP2 = "axlemesh.io/http2"
)

// inboundPrefix and a port name the cluster that is the pod's own application; nobody sends it.
const inboundPrefix = "inbound/"

// Bounds of one resource.
const (
	maxEndpoints = 20_000
	maxRoutes    = 1_000
	maxDomains   = 1_000
)

// cluster is a translated Cluster. Its endpoints are its own, or those of the assignment that eds names.
type cluster struct {
	config.Cluster
	eds string
	tls *tlsBlock
}

// host is a translated VirtualHost.
type host struct {
	domains []string
	routes  []config.Route
	// sources are the labels that callers need for a route, by its place; everybody may take one that is not in it.
	sources map[int]labels
}

// translateListener reads a Listener: one address, one filter chain, or the same one with TLS and without, one filter.
func translateListener(l *listenerv3.Listener) (entrance, error) {
	out := entrance{Listener: config.Listener{Name: l.GetName()}, caller: translateCaller(l.GetMetadata())}
	var err error
	if l.GetAddress().GetPipe() != nil {
		return out, errors.New("address: listeners are TCP only: send a socket_address")
	}
	if out.Address, err = socketAddress(l.GetAddress()); err != nil {
		return out, fmt.Errorf("address: %w", err)
	}
	switch l.GetTrafficDirection() {
	case corev3.TrafficDirection_INBOUND:
		out.Direction = config.Inbound
	case corev3.TrafficDirection_OUTBOUND:
		out.Direction = config.Outbound
	default:
		return out, fmt.Errorf("traffic_direction: %s: set INBOUND or OUTBOUND", l.GetTrafficDirection())
	}
	if out.tls, err = listenerTLS(l.GetFilterChains()); err != nil {
		return out, err
	}
	if err := judgeListener(l); err != nil {
		return out, err
	}
	filters := l.GetFilterChains()[0].GetFilters()
	if len(filters) != 1 {
		return out, fmt.Errorf("filter_chains[0].filters: send exactly 1, not %d", len(filters))
	}
	if err := translateFilter(filters[0], &out); err != nil {
		return out, fmt.Errorf("filter_chains[0].filters[0]: %w", err)
	}
	return out, translateSettings(l.GetMetadata(), &out)
}

// translateFilter takes the protocol from the filter's name, and from its configuration where requests go: all to one
// cluster, or by their service.
func translateFilter(f *listenerv3.Filter, out *entrance) error {
	switch f.GetName() {
	case FilterBolt:
		out.Protocol = config.Bolt
	case FilterDubbo:
		out.Protocol = config.Dubbo
	case FilterTCP:
		out.Protocol = config.TCP
	case FilterHTTP1:
		out.Protocol = config.HTTP1
	case FilterHTTP2:
		out.Protocol = config.HTTP2
	default:
		return fmt.Errorf("name: %q is unknown to this version: use %s, %s, %s, %s or %s", f.GetName(), FilterBolt, FilterDubbo, FilterHTTP1, FilterHTTP2, FilterTCP)
	}
	typed := f.GetTypedConfig()
	tcp, hcm := &tcpv3.TcpProxy{}, &hcmv3.HttpConnectionManager{}
	switch {
	case typed.MessageIs(tcp):
		if err := typed.UnmarshalTo(tcp); err != nil {
			return fmt.Errorf("typed_config: %w", err)
		}
		if tcp.GetCluster() == "" {
			return errors.New("typed_config.cluster: name one cluster")
		}
		out.Cluster = tcp.GetCluster()
		err := judgeTCP(tcp)
		if err != nil {
			return inside("typed_config", err)
		}
		out.AccessLog, err = translateAccessLog(tcp.GetAccessLog())
		return inside("typed_config", err)
	case typed.MessageIs(hcm):
		if out.Protocol == config.TCP {
			return errors.New("typed_config: tcp carries no service to route by: use TcpProxy")
		}
		if err := typed.UnmarshalTo(hcm); err != nil {
			return fmt.Errorf("typed_config: %w", err)
		}
		if hcm.GetRds() == nil {
			return errors.New("typed_config.rds: routes are looked up by service: set route_config_name, inline routes are not supported")
		}
		err := judgeManager(hcm)
		if err != nil {
			return inside("typed_config", err)
		}
		if out.SamplePercent, out.tracing, err = translateTracing(hcm.GetTracing()); err != nil {
			return inside("typed_config.tracing", err)
		}
		if out.AccessLog, err = translateAccessLog(hcm.GetAccessLog()); err != nil {
			return inside("typed_config", err)
		}
		return inside("typed_config", translateHTTPFilters(hcm.GetHttpFilters(), &out.Listener))
	default:
		return fmt.Errorf("typed_config: %q is unsupported: use TcpProxy or HttpConnectionManager", typed.GetTypeUrl())
	}
}

// translateCluster reads a Cluster of type STATIC or EDS.
func translateCluster(c *clusterv3.Cluster) (cluster, error) {
	out := cluster{Cluster: config.Cluster{Name: c.GetName(), Connections: 1}}
	var err error
	if out.ConnectTimeout, err = duration(c.GetConnectTimeout()); err != nil {
		return out, fmt.Errorf("connect_timeout: %w", err)
	}
	out.ConnectTimeout = cmp.Or(out.ConnectTimeout, time.Second)
	if err := translateBalancing(c, &out.Balancing); err != nil {
		return out, err
	}
	if err := translateLimits(c.GetCircuitBreakers(), &out.Cluster); err != nil {
		return out, inside("circuit_breakers", err)
	}
	if out.Adaptive, err = translateAdaptive(c.GetMetadata()); err != nil {
		return out, err
	}
	if out.Outlier, err = translateOutlier(c.GetOutlierDetection()); err != nil {
		return out, inside("outlier_detection", err)
	}
	if out.Check, err = translateCheck(c.GetHealthChecks()); err != nil {
		return out, err
	}
	if err := out.Validate(); err != nil {
		return out, err
	}
	if err := judgeCluster(c); err != nil {
		return out, err
	}
	if len(c.GetTransportSocketMatches()) > 0 {
		return out, errors.New("transport_socket_matches: unsupported by this version: use transport_socket")
	}
	if out.tls, err = upstreamTLS(c.GetTransportSocket()); err != nil {
		return out, within("transport_socket", err)
	}
	switch c.GetType() {
	case clusterv3.Cluster_STATIC:
		all, err := translateEndpoints(c.GetLoadAssignment())
		if err != nil {
			return out, fmt.Errorf("load_assignment: %w", err)
		}
		out.Endpoints, out.Traits = all.addrs, all.traits
	case clusterv3.Cluster_EDS:
		out.eds = cmp.Or(c.GetEdsClusterConfig().GetServiceName(), c.GetName())
	default:
		return out, fmt.Errorf("type: %s is unsupported: use EDS or STATIC", c.GetType())
	}
	return out, nil
}

// translateHost reads a VirtualHost. Its domains are service keys; what is to be done is with its routes.
func translateHost(h *routev3.VirtualHost) (host, error) {
	out := host{domains: h.GetDomains()}
	if err := only(h, "name", "domains", "routes", "metadata", "include_request_attempt_count", "virtual_clusters"); err != nil {
		return out, err
	}
	if n := len(out.domains); n == 0 || n > maxDomains {
		return out, fmt.Errorf("domains: %d service keys: send 1 to %d", n, maxDomains)
	}
	if slices.Contains(out.domains, "") {
		return out, errors.New("domains: one is empty")
	}
	if n := len(h.GetRoutes()); n == 0 || n > maxRoutes {
		return out, fmt.Errorf("routes: send 1 to %d, not %d", maxRoutes, n)
	}
	for i, r := range h.GetRoutes() {
		route, err := translateRoute(r)
		if err != nil {
			return out, fmt.Errorf("routes[%d]: %w", i, err)
		}
		source, err := translateSource(r.GetMatch())
		if err != nil {
			return out, fmt.Errorf("routes[%d]: match.%w", i, err)
		}
		if source != nil {
			if out.sources == nil {
				out.sources = make(map[int]labels)
			}
			out.sources[i] = source
		}
		out.routes = append(out.routes, route)
	}
	return out, nil
}

// derived returns the cluster of the pod's own application that name stands for.
func derived(name string) (*config.Cluster, bool) {
	port, ok := strings.CutPrefix(name, inboundPrefix)
	if !ok {
		return nil, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, false
	}
	app := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(n))
	return &config.Cluster{Name: name, Endpoints: []netip.AddrPort{app}, ConnectTimeout: time.Second, Connections: 1}, true
}

// endpointAddress is where to connect to: a pipe is a Unix-domain socket.
func endpointAddress(a *corev3.Address) (netip.AddrPort, error) {
	if p := a.GetPipe(); p != nil {
		at, err := address.Unix(p.GetPath())
		if err != nil {
			return at, fmt.Errorf("pipe.path: %w", err)
		}
		return at, nil
	}
	at, err := socketAddress(a)
	if err == nil && at.Port() == 0 {
		err = errors.New("port_value: 0 is no port to connect to")
	}
	return at, err
}

func socketAddress(a *corev3.Address) (netip.AddrPort, error) {
	s := a.GetSocketAddress()
	if s == nil {
		return netip.AddrPort{}, errors.New("send a socket_address")
	}
	if s.GetProtocol() != corev3.SocketAddress_TCP {
		return netip.AddrPort{}, fmt.Errorf("socket_address.protocol: %s is unsupported: use TCP", s.GetProtocol())
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil || ip.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("socket_address.address: %q is no IP address", s.GetAddress())
	}
	if s.GetPortValue() > 65535 {
		return netip.AddrPort{}, fmt.Errorf("socket_address.port_value: %d is no port", s.GetPortValue())
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(s.GetPortValue())), nil
}

func duration(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, err
	}
	if d.AsDuration() < 0 {
		return 0, fmt.Errorf("%s is negative", d.AsDuration())
	}
	return d.AsDuration(), nil
}
