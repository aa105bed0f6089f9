package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
)

// TLS of a listener or of a cluster. It names files, whose content is read when the snapshot is applied, and again when
// it has changed; or it has what the control plane sent in their place.
type TLS struct {
	// Permissive is for listeners: plain connections are served too. A first byte of 22 begins a handshake.
	Permissive bool
	// Certificates of a listener are chosen by the name that a client asks for, and by what it can verify; the first is for
	// those that none other fits. A cluster has at most one, and shows it to endpoints that ask.
	Certificates []Certificate `json:",omitempty"`
	// Trust has roots. A listener that has it demands a certificate of every client; a cluster without it trusts the system's.
	Trust PEM `json:",omitzero"`
	// Optional is for listeners with Trust: a client may show no certificate.
	Optional bool `json:",omitempty"`
	// Name is for clusters: asked for by SNI, and without Peers the one that the endpoint's certificate has to have.
	Name string
	// Peers are the URIs and DNS names of which the peer's certificate has to have one. A URI may end with "*", which stands
	// for whatever follows.
	Peers []string
	// ALPN lists protocols, the preferred ones first.
	ALPN []string
	// MinVersion is one of crypto/tls; 0 means TLS 1.2.
	MinVersion uint16
	// Waiting says what the control plane has not sent yet. As long as it is not empty nobody can speak TLS here.
	Waiting []string `json:",omitempty"`
}

// Certificate is a chain, leaf first, and the key of its leaf.
type Certificate struct {
	Chain PEM
	Key   PEM
}

// PEM is the content of a file, or what the control plane sent. The zero value is nothing.
type PEM struct {
	File string `json:",omitempty"`
	// Secret is the name of the secret that Sent came in; empty when it came with the listener or cluster.
	Secret string `json:",omitempty"`
	Sent   Hidden `json:",omitzero"`
}

// Pair is a certificate in files.
func Pair(chain, key string) Certificate {
	return Certificate{Chain: PEM{File: chain}, Key: PEM{File: key}}
}

// IsZero says that there is nothing.
func (p PEM) IsZero() bool { return p.File == "" && p.Sent.IsZero() }

// Hidden is bytes that no dump and no log shows. The zero value is none.
type Hidden struct{ content string }

// Hide takes a copy of b.
func Hide(b []byte) Hidden { return Hidden{string(b)} }

// Reveal returns a copy.
func (h Hidden) Reveal() []byte { return []byte(h.content) }

// IsZero says that there are no bytes.
func (h Hidden) IsZero() bool { return h.content == "" }

// Equal says whether both have the same bytes.
func (h Hidden) Equal(o Hidden) bool { return h == o }

// Format writes the same for all of them.
func (h Hidden) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(hidden)")) }

// MarshalText is for JSON. There is no way back.
func (h Hidden) MarshalText() ([]byte, error) { return []byte("(hidden)"), nil }

// maxALPN bounds the name of a protocol (RFC 7301 section 3.1).
const maxALPN = 255

// Shut says that a listener cannot serve anybody yet.
func (t *TLS) Shut() bool { return t != nil && len(t.Waiting) > 0 && !t.Permissive }

// ValidateListener reports every mistake in a listener's block.
func (t *TLS) ValidateListener() error { return errors.Join(t.validateListener()...) }

// ValidateCluster reports every mistake in a cluster's block.
func (t *TLS) ValidateCluster() error { return errors.Join(t.validateCluster()...) }

func (t *TLS) validateListener() []error {
	if t == nil {
		return nil
	}
	errs := t.validate()
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("tls: "+format, args...)) }
	if len(t.Certificates) == 0 && len(t.Waiting) == 0 {
		bad("a listener needs a certificate and its key")
	}
	if t.Name != "" {
		bad("name %q is for clusters", t.Name)
	}
	if len(t.Waiting) > 0 {
		return errs
	}
	if len(t.Peers) > 0 && t.Trust.IsZero() {
		bad("peers are named, and there is no trust to check them against")
	}
	if t.Optional && t.Trust.IsZero() {
		bad("certificates of clients are optional, and there is no trust to check them against")
	}
	return errs
}

func (t *TLS) validateCluster() []error {
	if t == nil {
		return nil
	}
	errs := t.validate()
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("tls: "+format, args...)) }
	if len(t.Certificates) > 1 {
		bad("%d certificates: a cluster shows one", len(t.Certificates))
	}
	if t.Permissive || t.Optional {
		bad("permissive is for listeners")
	}
	if t.Name == "" && len(t.Peers) == 0 && len(t.Waiting) == 0 {
		bad("it needs a name or peers: else any certificate of a trusted root would do")
	}
	return errs
}

func (t *TLS) validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("tls: "+format, args...)) }
	for i, c := range t.Certificates {
		if c.Chain.IsZero() || c.Key.IsZero() {
			bad("certificate %d and its key go together", i)
		}
	}
	for i, p := range t.Peers {
		if err := CheckPeer(p); err != nil {
			bad("peer %d: %w", i, err)
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

// CheckPeer wants an entry of Peers that cannot take more than it seems to.
func CheckPeer(p string) error {
	_, rest, uri := strings.Cut(p, "://")
	name, open := strings.CutSuffix(p, "*")
	switch {
	case p == "" || strings.Contains(name, "*") || open && !uri:
		return fmt.Errorf("%q is neither a DNS name nor a URI, which may end with *", p)
	case open && !strings.Contains(rest, "/"):
		return fmt.Errorf("%q would take names of others, too: put a / before the *", p)
	case uri && isSPIFFE(p) && open:
		return checkSPIFFE(name, true)
	case uri && isSPIFFE(p):
		return CheckSPIFFE(p)
	}
	return nil
}
