package config

import (
	"crypto/tls"
	"fmt"
	"strings"
)

// TLS of a listener or of a cluster. It names files; what is in them is read when the snapshot is applied, and again when
// they have changed.
type TLS struct {
	// Permissive is for listeners: plain connections are served too. A first byte of 22 begins a handshake.
	Permissive bool
	// Certificate and Key are PEM files. A listener needs them; a cluster that has them shows them to endpoints that ask.
	Certificate, Key string
	// Trust is a PEM file of roots. A listener that has it demands a certificate of every client; a cluster without it
	// trusts the system's roots.
	Trust string
	// Name is for clusters: asked for by SNI, and without Peers the one that the endpoint's certificate has to have.
	Name string
	// Peers are the URIs and DNS names of which the peer's certificate has to have one. A URI may end with "/*".
	Peers []string
	// ALPN lists protocols, the preferred ones first.
	ALPN []string
	// MinVersion is one of crypto/tls; 0 means TLS 1.2.
	MinVersion uint16
}

// maxALPN bounds the name of a protocol (RFC 7301 section 3.1).
const maxALPN = 255

func (t *TLS) validateListener() []error {
	if t == nil {
		return nil
	}
	errs := t.validate()
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("tls: "+format, args...)) }
	if t.Certificate == "" || t.Key == "" {
		bad("a listener needs a certificate and its key")
	}
	if t.Name != "" {
		bad("name %q is for clusters", t.Name)
	}
	if len(t.Peers) > 0 && t.Trust == "" {
		bad("peers are named, and there is no trust to check them against")
	}
	return errs
}

func (t *TLS) validateCluster() []error {
	if t == nil {
		return nil
	}
	errs := t.validate()
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("tls: "+format, args...)) }
	if (t.Certificate == "") != (t.Key == "") {
		bad("a certificate and its key go together")
	}
	if t.Permissive {
		bad("permissive is for listeners")
	}
	if t.Name == "" && len(t.Peers) == 0 {
		bad("it needs a name or peers: else any certificate of a trusted root would do")
	}
	return errs
}

func (t *TLS) validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("tls: "+format, args...)) }
	for i, p := range t.Peers {
		if p == "" || strings.Contains(strings.TrimSuffix(p, "/*"), "*") || strings.HasSuffix(p, "/*") && !strings.Contains(p, "://") {
			bad("peer %d: %q is neither a DNS name nor a URI, which may end with /*", i, p)
		}
	}
	for i, p := range t.ALPN {
		if p == "" || len(p) > maxALPN {
			bad("alpn %d: %q does not have 1 to %d bytes", i, p, maxALPN)
		}
	}
	if t.MinVersion != 0 && t.MinVersion != tls.VersionTLS12 && t.MinVersion != tls.VersionTLS13 {
		bad("version %#x is neither 1.2 nor 1.3", t.MinVersion)
	}
	return errs
}
