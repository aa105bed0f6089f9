package peers

import (
	"strings"

	"github.com/axlemesh/axle/hack/bench/load"
)

// HAProxy returns the arguments that it runs with in front of the server; ok is false for a protocol that it is not measured with.
// Bolt it relays as bytes.
func HAProxy(at Place, protocol load.Protocol) (args []string, ok bool, err error) {
	way, ok := haproxyWays[protocol]
	if !ok {
		return nil, false, nil
	}
	config := strings.NewReplacer("MODE", way.mode, "FRONT", way.front, "BACK", way.back).Replace(haproxyConfig)
	file, err := at.write("haproxy.cfg", config)
	return []string{"-db", "-f", file}, true, err
}

var haproxyWays = map[load.Protocol]struct{ mode, front, back string }{
	load.Bolt:  {mode: "tcp"},
	load.HTTP:  {mode: "http", back: haproxyPool},
	load.HTTP2: {mode: "http", front: "proto h2", back: "proto h2 " + haproxyPool},
	load.GRPC:  {mode: "http", front: "proto h2", back: "proto h2 " + haproxyPool},
	load.TLS: {
		mode: "http", front: "ssl crt BOTH alpn http/1.1",
		back: "ssl verify required ca-file AUTHORITY sni str(HOST) verifyhost HOST " + haproxyPool,
	},
}

const haproxyPool = "pool-max-conn 4096 pool-purge-delay 3600s"

const haproxyConfig = `global
  nbthread 1
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-server-options ssl-min-ver TLSv1.3
  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-server-verify required
  tune.h2.max-concurrent-streams 256
defaults
  mode MODE
  timeout connect 1s
  timeout client 1h
  timeout server 1h
frontend bench
  bind LISTEN FRONT
  default_backend echo
backend echo
  server echo SERVER BACK
`
