package xds

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Filters that choose a listener's protocol.
const (
	filterBolt  = "axlemesh.io/bolt"
	filterDubbo = "axlemesh.io/dubbo"
	filterHTTP  = "axlemesh.io/http1" // HTTP/2 too, for a client that opens with its preface
	filterHTTP2 = "axlemesh.io/http2"
	filterTCP   = "axlemesh.io/tcp"
)

// ways are where the pod's own application calls its sidecar, on the loopback address.
var ways = []struct {
	name, filter string
	port         int32
	newer        axlev1.Protocol // that the sidecar has to speak; there was a release without it
}{
	{"outbound/bolt", filterBolt, 12220, ""},
	{"outbound/dubbo", filterDubbo, 12230, axlev1.ProtocolDubbo},
	{"outbound/http", filterHTTP, 12280, ""},
}

// Listeners makes the listeners of one pod: one for each port that its sidecar serves, and one for each protocol of its application's own calls. A
// sidecar that is asked to leave keeps them; it closes them itself when nobody is left. A sidecar that does not speak a protocol which is newer than
// the first release gets no such listener, and bytes on such a port: it would refuse what it does not know, and everything that came with it.
//
// Those for the application's calls carry the pod's labels: routes with a source are for callers that have them. All of them carry the fleet's
// settings.
func Listeners(desired *axlev1.PodDesired, spoken []axlev1.Protocol, labels map[string]string, set Settings) ([]*listenerv3.Listener, error) {
	if desired == nil {
		return nil, nil
	}
	logs := set.accessLog()
	sections, err := set.sections()
	if err != nil {
		return nil, err
	}
	var all []*listenerv3.Listener
	for _, p := range desired.Ports {
		l, err := inbound(p, spoken, logs)
		if err != nil {
			return nil, err
		}
		if len(sections) > 0 {
			l.Metadata = &corev3.Metadata{FilterMetadata: sections}
		}
		all = append(all, l)
	}
	for _, w := range ways {
		if w.newer != "" && !slices.Contains(spoken, w.newer) {
			continue
		}
		l, err := outbound(w.name, w.filter, w.port, logs)
		if err != nil {
			return nil, err
		}
		l.Metadata = caller(labels)
		maps.Copy(l.Metadata.FilterMetadata, sections)
		all = append(all, l)
	}
	return all, nil
}

// caller is who calls through a listener.
func caller(labels map[string]string) *corev3.Metadata {
	fields := map[string]*structpb.Value{}
	for name, value := range labels {
		fields[name] = structpb.NewStringValue(value)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataKey: {
		Fields: map[string]*structpb.Value{labelsKey: structpb.NewStructValue(&structpb.Struct{Fields: fields})},
	}}}
}

func inbound(p axlev1.PortSpec, spoken []axlev1.Protocol, logs []*accesslogv3.AccessLog) (*listenerv3.Listener, error) {
	filter := filterTCP
	switch p.Protocol {
	case axlev1.ProtocolBolt:
		filter = filterBolt
	case axlev1.ProtocolDubbo:
		if slices.Contains(spoken, p.Protocol) {
			filter = filterDubbo
		}
	case axlev1.ProtocolHTTP2:
		if slices.Contains(spoken, p.Protocol) {
			filter = filterHTTP2
		}
	case axlev1.ProtocolHTTP1, axlev1.ProtocolSOAP:
		filter = filterHTTP
	}
	cluster := inboundCluster(p.AppPort)
	return listener("inbound/"+strconv.Itoa(int(p.Mesh())), corev3.TrafficDirection_INBOUND, "0.0.0.0", p.Mesh(), filter,
		&tcpv3.TcpProxy{StatPrefix: cluster, AccessLog: logs, ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: cluster}})
}

func outbound(name, filter string, port int32, logs []*accesslogv3.AccessLog) (*listenerv3.Listener, error) {
	return listener(name, corev3.TrafficDirection_OUTBOUND, "127.0.0.1", port, filter,
		&hcmv3.HttpConnectionManager{
			StatPrefix: "outbound",
			AccessLog:  logs,
			RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
				RouteConfigName: "outbound",
				ConfigSource: &corev3.ConfigSource{
					ResourceApiVersion:    corev3.ApiVersion_V3,
					ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
				},
			}},
		})
}

func listener(name string, direction corev3.TrafficDirection, ip string, port int32, filter string, cfg proto.Message) (*listenerv3.Listener, error) {
	raw, err := (proto.MarshalOptions{Deterministic: true}).Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", name, err)
	}
	return &listenerv3.Listener{
		Name:             name,
		Address:          socket(ip, port),
		TrafficDirection: direction,
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: filter,
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: &anypb.Any{
				TypeUrl: "type.googleapis.com/" + string(cfg.ProtoReflect().Descriptor().FullName()), Value: raw,
			}},
		}}}},
	}, nil
}
