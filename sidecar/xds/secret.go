package xds

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/axlemesh/axle/sidecar/config"
)

// maxPEM bounds one certificate chain, key or bundle of roots in bytes.
const maxPEM = 1 << 20

// secret is a translated Secret: a certificate, or whom to trust.
type secret struct {
	certificate *config.Certificate
	trust       *trust
}

// trust is a translated validation context.
type trust struct {
	roots config.PEM // zero where there are none
	peers []string
}

func translateSecret(s *tlsv3.Secret) (secret, error) {
	switch t := s.GetType().(type) {
	case *tlsv3.Secret_TlsCertificate:
		c, err := certificate(s.GetName(), t.TlsCertificate)
		return secret{certificate: c}, inside("tls_certificate", err)
	case *tlsv3.Secret_ValidationContext:
		v, err := validation(s.GetName(), t.ValidationContext)
		return secret{trust: v}, inside("validation_context", err)
	}
	return secret{}, errors.New("send a tls_certificate or a validation_context")
}

// certificate reads a chain and its key, and proves that they go together. No error has a byte of the key.
func certificate(name string, c *tlsv3.TlsCertificate) (*config.Certificate, error) {
	if err := only(c, "certificate_chain", "private_key"); err != nil {
		return nil, err
	}
	chain, err := data(c.GetCertificateChain())
	if err != nil {
		return nil, within("certificate_chain", err)
	}
	key, err := data(c.GetPrivateKey())
	if err != nil {
		return nil, within("private_key", err)
	}
	if _, err := tls.X509KeyPair(chain, key); err != nil {
		return nil, within("certificate_chain and private_key", err)
	}
	return &config.Certificate{
		Chain: config.PEM{Secret: name, Sent: config.Hide(chain)}, Key: config.PEM{Secret: name, Sent: config.Hide(key)},
	}, nil
}

func validation(name string, v *tlsv3.CertificateValidationContext) (*trust, error) {
	if err := only(v, "trusted_ca", "match_typed_subject_alt_names"); err != nil {
		return nil, err
	}
	out := &trust{}
	if v.GetTrustedCa() != nil {
		roots, err := data(v.GetTrustedCa())
		if err == nil {
			err = bundle(roots)
		}
		if err != nil {
			return nil, within("trusted_ca", err)
		}
		out.roots = config.PEM{Secret: name, Sent: config.Hide(roots)}
	}
	if n := len(v.GetMatchTypedSubjectAltNames()); n > maxPeers {
		return nil, fmt.Errorf("match_typed_subject_alt_names: %d are too many: send up to %d", n, maxPeers)
	}
	for i, m := range v.GetMatchTypedSubjectAltNames() {
		p, err := peer(m)
		if err != nil {
			return nil, fmt.Errorf("match_typed_subject_alt_names[%d]: %w", i, err)
		}
		out.peers = append(out.peers, p)
	}
	return out, nil
}

// bundle wants certificates, all of them readable: one that is left out of a bundle is missed when it is too late. Roots are public,
// and treated so: a key has no business among them.
func bundle(b []byte) error {
	n := 0
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return errors.New("there is a private key in it")
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("certificate %d: %w", n, err)
		}
		n++
	}
	if n == 0 {
		return errors.New("there is no certificate in it")
	}
	return nil
}

func data(d *corev3.DataSource) ([]byte, error) {
	var b []byte
	switch s := d.GetSpecifier().(type) {
	case *corev3.DataSource_InlineBytes:
		b = s.InlineBytes
	case *corev3.DataSource_InlineString:
		b = []byte(s.InlineString)
	default:
		return nil, errors.New("send inline_bytes or inline_string")
	}
	if len(b) == 0 || len(b) > maxPEM {
		return nil, fmt.Errorf("%d bytes: send 1 to %d", len(b), maxPEM)
	}
	return b, nil
}
