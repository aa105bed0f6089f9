package xds

import (
	"errors"
	"fmt"
	"strings"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// judgeTCP names what connections are to meet besides.
func judgeTCP(t *tcpv3.TcpProxy) error {
	return onlyOn(t, "cluster", "access_log", "stat_prefix")
}

// judgeManager names what requests are to meet besides. What is let through is what a sidecar does anyway, what it does in its own way
// that nobody sees, and bounds of which it has its own.
func judgeManager(m *hcmv3.HttpConnectionManager) error {
	for i, u := range m.GetUpgradeConfigs() {
		if err := judgeUpgrade(u); err != nil {
			return inside(fmt.Sprintf("upgrade_configs[%d]", i), err)
		}
	}
	switch f := m.GetForwardClientCertDetails(); f {
	case hcmv3.HttpConnectionManager_SANITIZE, hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY:
	default:
		return fmt.Errorf("forward_client_cert_details: %s is unsupported by this version", f)
	}
	if a := m.GetPathWithEscapedSlashesAction(); a > hcmv3.HttpConnectionManager_KEEP_UNCHANGED {
		return fmt.Errorf("path_with_escaped_slashes_action: %s is unsupported by this version", a)
	}
	if err := onlyOn(m.GetCommonHttpProtocolOptions(), "idle_timeout", "max_headers_count", "max_response_headers_kb"); err != nil {
		return inside("common_http_protocol_options", err)
	}
	if err := onlyOn(m.GetHttpProtocolOptions(), "allow_absolute_url", "accept_http_10", "enable_trailers", "use_balsa_parser"); err != nil {
		return inside("http_protocol_options", err)
	}
	if h := m.GetHttp2ProtocolOptions(); h.GetAllowConnect() || h.GetAllowMetadata() {
		return errors.New("http2_protocol_options: allow_connect and allow_metadata are unsupported by this version")
	}
	return onlyOn(m, "rds", "http_filters", "tracing", "access_log", // which is acted on
		"upgrade_configs", "forward_client_cert_details", "path_with_escaped_slashes_action", "skip_xff_append", "preserve_external_request_id",
		"proxy_100_continue", "codec_type", "stat_prefix", "server_name", "server_header_transformation", "internal_address_config",
		"add_proxy_protocol_connection_state", "max_request_headers_kb", "request_headers_timeout", "stream_flush_timeout", "drain_timeout",
		"delayed_close_timeout", "common_http_protocol_options", "http_protocol_options", "http2_protocol_options")
}

// judgeUpgrade takes those that are passed through anyway.
func judgeUpgrade(u *hcmv3.HttpConnectionManager_UpgradeConfig) error {
	if kind := u.GetUpgradeType(); !strings.EqualFold(kind, "websocket") && !strings.EqualFold(kind, "CONNECT") {
		return fmt.Errorf("upgrade_type: %q is unsupported by this version: use websocket or CONNECT", kind)
	}
	if e := u.GetEnabled(); e != nil && !e.GetValue() {
		return fmt.Errorf("enabled: a sidecar passes %s through: leave it out", u.GetUpgradeType())
	}
	return only(u, "upgrade_type", "enabled")
}

// onlyOn is only, where a field that turns something off may be there.
func onlyOn[M proto.Message](m M, names ...protoreflect.Name) error {
	on := proto.CloneOf(m)
	fields := on.ProtoReflect()
	fields.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() == nil || f.IsList() || f.IsMap() {
			return true
		}
		switch is := v.Message().Interface().(type) {
		case *wrapperspb.BoolValue:
			if !is.GetValue() {
				fields.Clear(f)
			}
		case *durationpb.Duration:
			if is.GetSeconds() == 0 && is.GetNanos() == 0 {
				fields.Clear(f)
			}
		}
		return true
	})
	return only(on, names...)
}
