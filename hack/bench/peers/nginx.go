package peers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/axlemesh/axle/hack/bench/load"
)

// Nginx returns the arguments that it runs with in front of the server; ok is false for a protocol that it does not speak. HTTP/2
// to the server is what it calls grpc_pass.
func Nginx(at Place, protocol load.Protocol) (args []string, ok bool, err error) {
	server, ok := nginxServers[protocol]
	if !ok {
		return nil, false, nil
	}
	for _, name := range []string{"body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		if err := os.MkdirAll(filepath.Join(at.Dir, name), 0o700); err != nil {
			return nil, true, fmt.Errorf("folders of nginx: %w", err)
		}
	}
	file, err := at.write("nginx.conf", strings.Replace(nginxConfig, "SITE", server, 1))
	return []string{"-p", at.Dir, "-e", filepath.Join(at.Dir, "error.log"), "-c", file}, true, err
}

var nginxServers = map[load.Protocol]string{
	load.HTTP: `listen LISTEN backlog=4096;
    location / { proxy_pass http://echo; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }`,
	load.HTTP2: nginxHTTP2,
	load.GRPC:  nginxHTTP2,
	load.TLS: `listen LISTEN ssl backlog=4096;
    ssl_certificate CHAIN;
    ssl_certificate_key KEY;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    proxy_ssl_protocols TLSv1.3;
    proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    proxy_ssl_trusted_certificate AUTHORITY;
    proxy_ssl_verify on;
    proxy_ssl_name HOST;
    proxy_ssl_server_name on;
    location / { proxy_pass https://echo; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }`,
}

const nginxHTTP2 = `listen LISTEN http2 backlog=4096;
    http2_max_concurrent_streams 256;
    location / { grpc_pass grpc://echo; grpc_set_header Host $host; }`

const nginxConfig = `daemon off;
master_process off;
worker_processes 1;
pid DIR/nginx.pid;
error_log DIR/error.log warn;
events { worker_connections 8192; use epoll; multi_accept on; }
http {
  access_log off;
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  tcp_nodelay on;
  client_body_buffer_size 16k;
  upstream echo { server SERVER; keepalive 2048; keepalive_requests 1000000000; keepalive_timeout 3600s; }
  server {
    SITE
  }
}
`
