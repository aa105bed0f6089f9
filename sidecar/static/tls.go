package static

import (
	"crypto/tls"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/config"
)

func (t *translator) listenerTLS(at string, l *bootstrap.ListenerTLS) *config.TLS {
	if l == nil {
		return nil
	}
	switch l.Mode {
	case "", bootstrap.Strict, bootstrap.Permissive:
	default:
		t.fault("%s.mode: %q is neither %s nor %s", at, l.Mode, bootstrap.Strict, bootstrap.Permissive)
	}
	return &config.TLS{
		Permissive: l.Mode == bootstrap.Permissive, Certificates: pairs(append([]bootstrap.KeyPair{{Certificate: l.Certificate, Key: l.Key}}, l.Certificates...)),
		Trust: config.PEM{File: l.Trust},
		Peers: l.Peers, ALPN: l.ALPN, MinVersion: t.version(at+".minVersion", l.MinVersion),
	}
}

func (t *translator) clusterTLS(at string, c *bootstrap.ClusterTLS) *config.TLS {
	if c == nil {
		return nil
	}
	return &config.TLS{
		Certificates: pairs([]bootstrap.KeyPair{{Certificate: c.Certificate, Key: c.Key}}), Trust: config.PEM{File: c.Trust}, Name: c.ServerName,
		Peers: c.Peers, ALPN: c.ALPN, MinVersion: t.version(at+".minVersion", c.MinVersion),
	}
}

// pairs leaves out a first one that is not there.
func pairs(all []bootstrap.KeyPair) []config.Certificate {
	var out []config.Certificate
	for i, p := range all {
		if i > 0 || p != (bootstrap.KeyPair{}) {
			out = append(out, config.Pair(p.Certificate, p.Key))
		}
	}
	return out
}

func (t *translator) version(at, s string) uint16 {
	switch s {
	case "":
		return 0
	case "1.2":
		return tls.VersionTLS12
	case "1.3":
		return tls.VersionTLS13
	}
	t.fault("%s: %q is neither 1.2 nor 1.3", at, s)
	return 0
}
