package xds

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"github.com/go-logr/logr/funcr"
	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/axlemesh/axle/sidecar/config"
)

// What follows has the shape of what a mesh for Envoy sends to a sidecar: names, fields and extensions, as far as they matter here.

func meshMetadata() *corev3.Metadata {
	s, err := structpb.NewStruct(map[string]any{"services": []any{map[string]any{"host": "shop.demo.svc.cluster.local", "name": "shop", "namespace": "demo"}}})
	if err != nil {
		panic(err)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"istio": s}}
}

// meshCluster is outbound, by EDS; change says what else it has.
func meshCluster(subset string, change func(*clusterv3.Cluster)) *clusterv3.Cluster {
	most := wrapperspb.UInt32(4294967295)
	c := &clusterv3.Cluster{
		Name:                 "outbound|80|" + subset + "|shop.demo.svc.cluster.local",
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{
			EdsConfig: &corev3.ConfigSource{
				ResourceApiVersion: corev3.ApiVersion_V3, InitialFetchTimeout: durationpb.New(0), ConfigSourceSpecifier: &corev3.ConfigSource_Ads{},
			},
			ServiceName: "outbound|80||shop.demo.svc.cluster.local",
		},
		ConnectTimeout: durationpb.New(10 * time.Second), LbPolicy: clusterv3.Cluster_LEAST_REQUEST, Metadata: meshMetadata(),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: most, MaxPendingRequests: most, MaxRequests: most, MaxRetries: most, TrackRemaining: true,
		}}},
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{},
	}
	if change != nil {
		change(c)
	}
	return c
}

// meshTLS are certificates on both sides, from Secrets over the same stream.
func meshTLS(c *clusterv3.Cluster) {
	ads := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{}, ResourceApiVersion: corev3.ApiVersion_V3}
	c.TransportSocket = socketOf(&tlsv3.UpstreamTlsContext{
		Sni: "outbound_.80_._.shop.demo.svc.cluster.local",
		CommonTlsContext: &tlsv3.CommonTlsContext{
			AlpnProtocols:                  []string{"istio-peer-exchange", "istio"},
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "default", SdsConfig: ads}},
			ValidationContextType:          &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "ROOTCA", SdsConfig: ads}},
		},
	})
}

func meshEndpoints() *endpointv3.ClusterLoadAssignment {
	one := func(ip string) *endpointv3.LbEndpoint {
		return &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socket(ip, 8080)}},
			Metadata:       meshMetadata(), LoadBalancingWeight: wrapperspb.UInt32(1), HealthStatus: corev3.HealthStatus_HEALTHY,
		}
	}
	return &endpointv3.ClusterLoadAssignment{
		ClusterName: "outbound|80||shop.demo.svc.cluster.local",
		Endpoints: []*endpointv3.LocalityLbEndpoints{{
			Locality: &corev3.Locality{Region: "r", Zone: "z"}, LbEndpoints: []*endpointv3.LbEndpoint{one("10.0.0.1"), one("10.0.0.2")},
			LoadBalancingWeight: wrapperspb.UInt32(2),
		}},
	}
}

func meshManager() *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix: "outbound_0.0.0.0_80",
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource:    &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{}, ResourceApiVersion: corev3.ApiVersion_V3},
			RouteConfigName: "80",
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})},
		}},
	}
}

func meshListener(name string, port uint32, change func(*listenerv3.Listener)) *listenerv3.Listener {
	l := listener(name, "0.0.0.0", port, corev3.TrafficDirection_OUTBOUND, "envoy.filters.network.http_connection_manager", meshManager())
	if change != nil {
		change(l)
	}
	return l
}

// managed changes the connection manager of a listener that has our name for its protocol.
func managed(change func(*hcmv3.HttpConnectionManager)) func(*listenerv3.Listener) {
	return func(l *listenerv3.Listener) {
		m := meshManager()
		change(m)
		l.FilterChains[0].Filters[0] = listener("", "", 0, 0, FilterHTTP1, m).FilterChains[0].Filters[0]
	}
}

func meshRoutes() *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: "80", VirtualHosts: []*routev3.VirtualHost{virtualHost("outbound|80||shop.demo.svc.cluster.local", "shop.demo.svc.cluster.local", "shop", "shop.demo")},
		ValidateClusters: wrapperspb.Bool(false), IgnorePortInHostMatching: true,
	}
}

// meshConfiguration is all of it, by what is to be learnt from each.
func meshConfiguration() map[resourcev3.Type][]types.Resource {
	return map[resourcev3.Type][]types.Resource{
		resourcev3.ClusterType: {
			meshCluster("", nil),
			meshCluster("mtls", meshTLS),
			meshCluster("auto", func(c *clusterv3.Cluster) {
				c.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{{Name: "tlsMode-disabled", Match: &structpb.Struct{}}}
			}),
			meshCluster("h2", func(c *clusterv3.Cluster) {
				c.TypedExtensionProtocolOptions = map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(&httpv3.HttpProtocolOptions{})}
			}),
			&clusterv3.Cluster{Name: "BlackHoleCluster", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}, ConnectTimeout: durationpb.New(time.Second)},
			&clusterv3.Cluster{
				Name: "PassthroughCluster", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}, LbPolicy: clusterv3.Cluster_CLUSTER_PROVIDED,
			},
			&clusterv3.Cluster{Name: "bound", UpstreamBindConfig: &corev3.BindConfig{}},
			meshCluster("", func(c *clusterv3.Cluster) {
				c.Name = "elsewhere"
				c.EdsClusterConfig.EdsConfig.ConfigSourceSpecifier = &corev3.ConfigSource_ApiConfigSource{}
			}),
			&clusterv3.Cluster{Name: "outbound|443||api.example.com", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}},
		},
		resourcev3.EndpointType: {meshEndpoints()},
		resourcev3.ListenerType: {
			meshListener("0.0.0.0_80", 80, nil),
			meshListener("renamed", 81, managed(func(m *hcmv3.HttpConnectionManager) {
				m.HttpFilters = append(m.HttpFilters, &hcmv3.HttpFilter{Name: "istio.stats", IsOptional: true})
			})),
			meshListener("virtualOutbound", 15001, func(l *listenerv3.Listener) { l.UseOriginalDst = wrapperspb.Bool(true) }),
			meshListener("unbound", 82, func(l *listenerv3.Listener) { l.BindToPort = wrapperspb.Bool(false) }),
			meshListener("more", 83, func(l *listenerv3.Listener) { l.AdditionalAddresses = []*listenerv3.AdditionalAddress{{}} }),
			meshListener("proxied", 84, func(l *listenerv3.Listener) {
				l.ListenerFilters = []*listenerv3.ListenerFilter{{
					Name: "envoy.filters.listener.original_dst", ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&originaldstv3.OriginalDst{})},
				}}
			}),
			meshListener("guarded", 85, managed(func(m *hcmv3.HttpConnectionManager) {
				m.HttpFilters = append([]*hcmv3.HttpFilter{{
					Name: "envoy.filters.http.rbac", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&rbacv3.RBAC{})},
				}}, m.HttpFilters...)
			})),
			meshListener("inline", 86, managed(func(m *hcmv3.HttpConnectionManager) {
				m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: meshRoutes()}
			})),
			meshListener("virtualInbound", 15006, func(l *listenerv3.Listener) {
				l.TrafficDirection = corev3.TrafficDirection_INBOUND
				l.FilterChains = append(l.FilterChains, l.FilterChains[0], l.FilterChains[0])
			}),
			meshListener("piped", 87, func(l *listenerv3.Listener) {
				l.Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/in.sock"}}}
			}),
			meshListener("probes", 15021, func(l *listenerv3.Listener) { l.TrafficDirection = corev3.TrafficDirection_UNSPECIFIED }),
		},
		resourcev3.RouteType: {meshRoutes()},
	}
}

// foreign is a control plane of somebody else: go-control-plane with snapshots. What it does not do is refused.
func foreign(t *testing.T, older bool, all map[resourcev3.Type][]types.Resource) (addr string, nacks <-chan string) {
	t.Helper()
	snapshots := cache.NewSnapshotCache(true, cache.IDHash{}, nil)
	snap, err := cache.NewSnapshot("1", all)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := snapshots.SetSnapshot(ctx, "pod-1", snap); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 100)
	server := serverv3.NewServer(ctx, snapshots, serverv3.CallbackFuncs{
		StreamDeltaRequestFunc: func(_ int64, r *discoveryv3.DeltaDiscoveryRequest) error {
			if d := r.GetErrorDetail(); d != nil {
				said <- d.GetMessage()
			}
			return nil
		},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	if older {
		discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, stateOfTheWorld{server})
	} else {
		discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, server)
	}
	go func() { _ = g.Serve(l) }() // ends with Stop
	t.Cleanup(func() { g.Stop(); cancel() })
	return l.Addr().String(), said
}

// stateOfTheWorld does not know the other form of ADS.
type stateOfTheWorld struct{ serverv3.Server }

func (stateOfTheWorld) DeltaAggregatedResources(grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]) error {
	return discoveryv3.UnimplementedAggregatedDiscoveryServiceServer{}.DeltaAggregatedResources(nil)
}

// TestAMeshForEnvoy: what a sidecar can do of it is done, and the rest is refused by name, with what to change.
func TestAMeshForEnvoy(t *testing.T) {
	addr, nacks := foreign(t, false, meshConfiguration())
	f := follow(t, addr, nil)
	s := f.next()
	var said []string
	for range 2 {
		select {
		case nack := <-nacks:
			said = append(said, strings.Split(nack, "\n")...)
		case <-time.After(10 * time.Second):
			t.Fatalf("no more was refused than %q", said)
		}
	}
	slices.Sort(said)
	if diff := cmp.Diff(meshRefusals, said); diff != "" {
		t.Errorf("what is refused (-want +got):\n%s", diff)
	}
	if got := slices.Sorted(maps.Keys(s.Clusters)); !slices.Equal(got, meshClusters) {
		t.Errorf("clusters %q, want %q", got, meshClusters)
	}
	plain := s.Clusters[meshClusters[3]]
	if len(plain.Endpoints) != 2 || plain.Balancing.Policy != config.LeastRequest || plain.ConnectTimeout != 10*time.Second {
		t.Errorf("the cluster is %+v", plain)
	}
	waits := []string{`cluster "outbound|80|mtls|shop.demo.svc.cluster.local" waits for secret "default", secret "ROOTCA"`}
	if diff := cmp.Diff(waits, f.client.Status().Waiting); diff != "" {
		t.Errorf("what waits (-want +got):\n%s", diff)
	}
}

var (
	meshClusters = []string{
		"BlackHoleCluster", "outbound|80|h2|shop.demo.svc.cluster.local", "outbound|80|mtls|shop.demo.svc.cluster.local",
		"outbound|80||shop.demo.svc.cluster.local",
	}
	meshRefusals = []string{
		`Cluster "PassthroughCluster": lb_policy: CLUSTER_PROVIDED is unsupported: use ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH, MAGLEV or load_balancing_policy`,
		`Cluster "bound": upstream_bind_config: unsupported by this version`,
		`Cluster "elsewhere": eds_cluster_config.eds_config: *corev3.ConfigSource_ApiConfigSource is unsupported by this version: use ads`,
		`Cluster "outbound|443||api.example.com": type: STRICT_DNS is unsupported: use EDS or STATIC`,
		`Cluster "outbound|80|auto|shop.demo.svc.cluster.local": transport_socket_matches: unsupported by this version: use transport_socket`,
		`Listener "0.0.0.0_80": filter_chains[0].filters[0]: name: "envoy.filters.network.http_connection_manager" is unknown to this version: use axlemesh.io/bolt, axlemesh.io/dubbo, axlemesh.io/http1, axlemesh.io/http2 or axlemesh.io/tcp`,
		`Listener "guarded": filter_chains[0].filters[0]: typed_config.http_filters[0]: "envoy.filters.http.rbac" is unsupported by this version: use LocalRateLimit, HTTPFault and Router, or set is_optional`,
		`Listener "inline": filter_chains[0].filters[0]: typed_config.rds: routes are looked up by service: set route_config_name, inline routes are not supported`,
		`Listener "more": additional_addresses: unsupported by this version`,
		`Listener "piped": address: listeners are TCP only: send a socket_address`,
		`Listener "probes": traffic_direction: UNSPECIFIED: set INBOUND or OUTBOUND`,
		`Listener "proxied": listener_filters[0]: "envoy.filters.listener.original_dst" is unsupported by this version: use TlsInspector or HttpInspector`,
		`Listener "unbound": bind_to_port: a sidecar listens at each address: leave it out`,
		`Listener "virtualInbound": filter_chains: send exactly 1, not 3; or 2, for the transport_protocol tls and raw_buffer`,
		`Listener "virtualOutbound": use_original_dst: connections are not taken over from other addresses: leave it out`,
	}
)

// TestRoutesThatNobodySends: a server that has them in RouteConfigurations only is told what is missed, in the log.
func TestRoutesThatNobodySends(t *testing.T) {
	addr, _ := foreign(t, false, meshConfiguration())
	var mu sync.Mutex
	var said []string
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	delivered := make(chan *config.Snapshot, 10)
	c := New(Config{
		NodeID: "pod-1", Conn: conn, Now: time.Now, Deliver: func(s *config.Snapshot, _ LastGood) { delivered <- s },
		Log: funcr.New(func(_, args string) {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, args)
		}, funcr.Options{}),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	select {
	case s := <-delivered:
		if len(s.Listeners) != 1 || s.Listeners[0].Name != "renamed" || len(s.Hosts) != 0 {
			t.Errorf("snapshot %+v", s)
		}
	case <-time.After(10 * time.Second):
		t.Error("no snapshot was delivered")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if all := strings.Join(said, "\n"); !strings.Contains(all, errNoHosts.Error()) {
		t.Errorf("the log says\n%s", all)
	}
}

// TestAServerThatKnowsTheStateOfTheWorldOnly: the error says what is wanted.
func TestAServerThatKnowsTheStateOfTheWorldOnly(t *testing.T) {
	addr, _ := foreign(t, true, meshConfiguration())
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	err = New(Config{NodeID: "pod-1", Conn: conn, Now: time.Now, Log: testr.New(t)}).follow(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the control plane has to speak the delta form of ADS (DeltaAggregatedResources)") {
		t.Errorf("it says %v", err)
	}
}
