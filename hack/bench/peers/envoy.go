package peers

import (
	"strings"

	"github.com/axlemesh/axle/hack/bench/load"
)

// Envoy returns the arguments that it runs with in front of the server; ok is false for a protocol that it is not measured with.
func Envoy(at Place, protocol load.Protocol) (args []string, ok bool, err error) {
	codec, upstream := "", ""
	switch protocol {
	case load.HTTP:
		codec, upstream = "HTTP1", "http_protocol_options: {}"
	case load.HTTP2, load.GRPC:
		codec, upstream = "HTTP2", "http2_protocol_options: {}"
	default:
		return nil, false, nil
	}
	host, port, _ := strings.Cut(at.Listen, ":")
	server, serverPort, _ := strings.Cut(at.Server, ":")
	config := strings.NewReplacer("CODEC", codec, "UPSTREAM", upstream, "FROM_IP", host, "FROM_PORT", port, "TO_IP", server, "TO_PORT", serverPort).
		Replace(envoyConfig)
	file, err := at.write("envoy.yaml", config)
	return []string{"-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "error"}, true, err
}

const envoyConfig = `static_resources:
  listeners:
  - address: {socket_address: {address: FROM_IP, port_value: FROM_PORT}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          codec_type: CODEC
          stat_prefix: bench
          route_config:
            virtual_hosts:
            - {name: bench, domains: ["HOST"], routes: [{match: {prefix: "/"}, route: {cluster: echo, timeout: 15s}}]}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: echo
    type: STATIC
    connect_timeout: 1s
    circuit_breakers: {thresholds: [{max_connections: 8192, max_pending_requests: 8192, max_requests: 8192}]}
    load_assignment:
      cluster_name: echo
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: TO_IP, port_value: TO_PORT}}}}]}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {UPSTREAM}
`
