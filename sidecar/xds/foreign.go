package xds

import (
	"errors"
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/axlemesh/axle/sidecar/config"
)

// What control planes of others send, and who takes it for granted would be served otherwise than he thinks, is refused here.

// judgeListener names what a listener is to do besides.
func judgeListener(l *listenerv3.Listener) error {
	if l.GetUseOriginalDst().GetValue() {
		return errors.New("use_original_dst: connections are not taken over from other addresses: leave it out")
	}
	if b := l.GetBindToPort(); b != nil && !b.GetValue() {
		return errors.New("bind_to_port: a sidecar listens at each address: leave it out")
	}
	for i, f := range l.GetListenerFilters() {
		typed := f.GetTypedConfig()
		if !typed.MessageIs(&tlsinspectorv3.TlsInspector{}) && !typed.MessageIs(&httpinspectorv3.HttpInspector{}) {
			return fmt.Errorf("listener_filters[%d]: %q is unsupported by this version: use TlsInspector or HttpInspector", i, f.GetName())
		}
	}
	return only(l, "name", "address", "traffic_direction", "filter_chains", "metadata", "listener_filters", "listener_filters_timeout",
		"continue_on_listener_filters_timeout", "use_original_dst", "bind_to_port", "stat_prefix", "per_connection_buffer_limit_bytes",
		"connection_balance_config", "enable_reuse_port", "tcp_backlog_size", "drain_type")
}

// judgeCluster names where a cluster's connections or endpoints would come from, or go through.
func judgeCluster(c *clusterv3.Cluster) error {
	switch from := c.GetEdsClusterConfig().GetEdsConfig().GetConfigSourceSpecifier().(type) {
	case nil, *corev3.ConfigSource_Ads, *corev3.ConfigSource_Self:
	default:
		return fmt.Errorf("eds_cluster_config.eds_config: %T is unsupported by this version: use ads", from)
	}
	if len(c.GetFilters()) > 0 {
		return errors.New("filters: unsupported by this version")
	}
	if c.GetUpstreamBindConfig() != nil {
		return errors.New("upstream_bind_config: unsupported by this version")
	}
	return nil
}

var errNoHosts = errors.New("listeners have no routes: the server has sent no envoy.config.route.v3.VirtualHost, " +
	"and RouteConfigurations are not asked for")

// unrouted says that the server has sent listeners, and no routes for them.
func (s *session) unrouted(snap *config.Snapshot) error {
	if len(snap.Hosts) > 0 || !s.answered[TypeListener] {
		return nil
	}
	for i := range snap.Listeners {
		if snap.Listeners[i].Cluster == "" {
			return errNoHosts
		}
	}
	return nil
}

// explained says what to do about a server that knows the other form of ADS only.
func explained(err error) error {
	if status.Code(err) == codes.Unimplemented {
		return fmt.Errorf("%w: the control plane has to speak the delta form of ADS (DeltaAggregatedResources)", err)
	}
	return err
}
