package xds

import (
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestWhatAManagerIsToDoBesides is refused by name, unless it is done anyway or has no effect; want is empty for what is taken.
func TestWhatAManagerIsToDoBesides(t *testing.T) {
	on, off := wrapperspb.Bool(true), wrapperspb.Bool(false)
	const unsupported = ": unsupported by this version"
	for name, tc := range map[string]struct {
		with func(*hcmv3.HttpConnectionManager)
		want string
	}{
		"upgrades that pass through": {func(m *hcmv3.HttpConnectionManager) {
			m.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}, {UpgradeType: "CONNECT", Enabled: on}}
		}, ""},
		"another upgrade": {func(m *hcmv3.HttpConnectionManager) {
			m.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}, {UpgradeType: "CONNECT-UDP"}}
		}, `upgrade_configs[1].upgrade_type: "CONNECT-UDP" is unsupported by this version: use websocket or CONNECT`},
		"an upgrade that is turned off": {func(m *hcmv3.HttpConnectionManager) {
			m.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket", Enabled: off}}
		}, "upgrade_configs[0].enabled: a sidecar passes websocket through: leave it out"},
		"filters of an upgrade": {func(m *hcmv3.HttpConnectionManager) {
			m.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket", Filters: m.HttpFilters}}
		}, "upgrade_configs[0].filters" + unsupported},
		"a timeout of requests": {func(m *hcmv3.HttpConnectionManager) { m.RequestTimeout = durationpb.New(time.Second) }, "request_timeout" + unsupported},
		"no timeouts": {func(m *hcmv3.HttpConnectionManager) {
			m.RequestTimeout, m.StreamIdleTimeout = durationpb.New(0), durationpb.New(0)
		}, ""},
		"a timeout of silence":   {func(m *hcmv3.HttpConnectionManager) { m.StreamIdleTimeout = durationpb.New(time.Second) }, "stream_idle_timeout" + unsupported},
		"paths are made normal":  {func(m *hcmv3.HttpConnectionManager) { m.NormalizePath = on }, "normalize_path" + unsupported},
		"paths stay":             {func(m *hcmv3.HttpConnectionManager) { m.NormalizePath = off }, ""},
		"slashes are merged":     {func(m *hcmv3.HttpConnectionManager) { m.MergeSlashes = true }, "merge_slashes" + unsupported},
		"escaped slashes stay":   {func(m *hcmv3.HttpConnectionManager) { m.PathWithEscapedSlashesAction = 1 }, ""},
		"no escaped slashes":     {func(m *hcmv3.HttpConnectionManager) { m.PathWithEscapedSlashesAction = 2 }, "path_with_escaped_slashes_action: REJECT_REQUEST is unsupported by this version"},
		"the client's address":   {func(m *hcmv3.HttpConnectionManager) { m.UseRemoteAddress = on }, "use_remote_address" + unsupported},
		"none":                   {func(m *hcmv3.HttpConnectionManager) { m.UseRemoteAddress, m.SkipXffAppend = off, true }, ""},
		"certificates in a head": {func(m *hcmv3.HttpConnectionManager) { m.ForwardClientCertDetails = 2 }, "forward_client_cert_details: APPEND_FORWARD is unsupported by this version"},
		"answers of its own":     {func(m *hcmv3.HttpConnectionManager) { m.LocalReplyConfig = &hcmv3.LocalReplyConfig{} }, "local_reply_config" + unsupported},
		"ids of requests":        {func(m *hcmv3.HttpConnectionManager) { m.GenerateRequestId, m.PreserveExternalRequestId = off, true }, ""},
		"hosts without ports":    {func(m *hcmv3.HttpConnectionManager) { m.StripMatchingHostPort = true }, "strip_matching_host_port" + unsupported},
		"bounds": {func(m *hcmv3.HttpConnectionManager) {
			m.MaxRequestHeadersKb, m.RequestHeadersTimeout, m.DelayedCloseTimeout = wrapperspb.UInt32(96), durationpb.New(time.Minute), durationpb.New(time.Second)
			m.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(time.Hour), MaxStreamDuration: durationpb.New(0)}
			m.HttpProtocolOptions = &corev3.Http1ProtocolOptions{AcceptHttp_10: true}
			m.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{MaxConcurrentStreams: wrapperspb.UInt32(100)}
		}, ""},
		"a life of streams": {func(m *hcmv3.HttpConnectionManager) {
			m.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{MaxStreamDuration: durationpb.New(time.Hour)}
		}, "common_http_protocol_options.max_stream_duration" + unsupported},
		"names in other letters": {func(m *hcmv3.HttpConnectionManager) {
			m.HttpProtocolOptions = &corev3.Http1ProtocolOptions{HeaderKeyFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat{}}
		}, "http_protocol_options.header_key_format" + unsupported},
		"WebSocket over HTTP/2": {func(m *hcmv3.HttpConnectionManager) {
			m.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{AllowConnect: true}
		}, "http2_protocol_options: allow_connect and allow_metadata are unsupported by this version"},
	} {
		t.Run(name, func(t *testing.T) {
			err := translated(meshListener("l", 80, managed(tc.with)))
			said(t, err, tc.want)
		})
	}
}

// TestWhatATCPProxyIsToDoBesides likewise.
func TestWhatATCPProxyIsToDoBesides(t *testing.T) {
	for name, tc := range map[string]struct {
		with func(*tcpv3.TcpProxy)
		want string
	}{
		"nothing":    {func(*tcpv3.TcpProxy) {}, ""},
		"no timeout": {func(p *tcpv3.TcpProxy) { p.IdleTimeout = durationpb.New(0) }, ""},
		"a timeout":  {func(p *tcpv3.TcpProxy) { p.IdleTimeout = durationpb.New(time.Hour) }, "typed_config.idle_timeout: unsupported by this version"},
		"a tunnel": {func(p *tcpv3.TcpProxy) { p.TunnelingConfig = &tcpv3.TcpProxy_TunnelingConfig{Hostname: "h:1"} },
			"typed_config.tunneling_config: unsupported by this version"},
	} {
		t.Run(name, func(t *testing.T) {
			p := tcpProxy("c")
			tc.with(p)
			said(t, translated(listener("l", "::", 1, corev3.TrafficDirection_INBOUND, FilterTCP, p)), tc.want)
		})
	}
}

// TestWhatAFilterChainIsToDoBesides likewise.
func TestWhatAFilterChainIsToDoBesides(t *testing.T) {
	l := inbound()
	l.FilterChains[0].Name, l.FilterChains[0].UseProxyProto = "web", wrapperspb.Bool(false) //nolint:staticcheck // it is sent all the same
	said(t, translated(l), "")
	l.FilterChains[0].UseProxyProto = wrapperspb.Bool(true) //nolint:staticcheck // likewise
	said(t, translated(l), "filter_chains[0].use_proxy_proto: unsupported by this version")
}

func translated(l *listenerv3.Listener) error {
	_, err := translateListener(l)
	return err
}
