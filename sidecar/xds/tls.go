package xds

import (
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	record "github.com/axlemesh/axle/sidecar/codec/tls"
	"github.com/axlemesh/axle/sidecar/config"
)

// typeRawBuffer is the transport socket of plain bytes.
const typeRawBuffer = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"

// Bounds of one TLS context.
const (
	maxCertificates = 100
	maxPeers        = 1_000
)

// tlsBlock is a translated TLS context: what came with it, and the names of the secrets that have the rest.
type tlsBlock struct {
	config.TLS
	server       bool
	certificates []string
	trust        string // "" for none
	tickets      bool   // keys of tickets came with it, which have no use here
}

// secrets are all names.
func (b *tlsBlock) secrets() []string {
	switch {
	case b == nil:
		return nil
	case b.trust == "":
		return b.certificates
	}
	return append(slices.Clip(b.certificates), b.trust)
}

// keys says that a key came with the context.
func (b *tlsBlock) keys() bool { return b != nil && (len(b.Certificates) > 0 || b.tickets) }

// resolve puts in what the secrets have. What is missing of them, and what does not go together, is in the block's Waiting.
func (b *tlsBlock) resolve(held map[string]resource) *config.TLS {
	if b == nil {
		return nil
	}
	out := b.TLS
	wait := func(format string, args ...any) { out.Waiting = append(out.Waiting, fmt.Sprintf(format, args...)) }
	for _, name := range b.certificates {
		s, ok := held[name].value.(secret)
		switch {
		case !ok:
			wait("secret %q", name)
		case s.certificate == nil:
			wait("secret %q as a tls_certificate", name)
		default:
			out.Certificates = append(slices.Clip(out.Certificates), *s.certificate)
		}
	}
	if b.trust != "" {
		s, ok := held[b.trust].value.(secret)
		switch {
		case !ok:
			wait("secret %q", b.trust)
		case s.trust == nil:
			wait("secret %q as a validation_context", b.trust)
		default:
			if !s.trust.roots.IsZero() {
				out.Trust = s.trust.roots
			}
			out.Peers = append(slices.Clip(out.Peers), s.trust.peers...)
		}
	}
	if err := b.check(&out); err != nil {
		wait("secrets that fit: %v", err)
	}
	return &out
}

func (b *tlsBlock) check(t *config.TLS) error {
	if b.server {
		return t.ValidateListener()
	}
	return t.ValidateCluster()
}

// downstreamTLS reads the transport socket of a filter chain; nil for plain bytes. What has to do with resumption has no
// effect: there is none.
func downstreamTLS(s *corev3.TransportSocket) (*tlsBlock, error) {
	d := &tlsv3.DownstreamTlsContext{}
	if plain, err := transport(s, d); plain || err != nil {
		return nil, err
	}
	if err := only(d, "common_tls_context", "require_client_certificate", "session_ticket_keys", "session_ticket_keys_sds_secret_config",
		"disable_stateless_session_resumption", "disable_stateful_session_resumption", "session_timeout", "prefer_client_ciphers",
		"full_scan_certs_on_sni_mismatch"); err != nil {
		return nil, inside("typed_config", err)
	}
	b := &tlsBlock{server: true, tickets: len(d.GetSessionTicketKeys().GetKeys()) > 0}
	if err := commonTLS(d.GetCommonTlsContext(), b); err != nil {
		return nil, inside("typed_config.common_tls_context", err)
	}
	demanded, trusting := d.GetRequireClientCertificate().GetValue(), b.trust != "" || !b.Trust.IsZero()
	if demanded && !trusting {
		return nil, errors.New("typed_config.require_client_certificate: send a validation context with the roots of clients")
	}
	b.Optional = trusting && !demanded
	if len(b.certificates)+len(b.Certificates) == 0 {
		return nil, errors.New("typed_config.common_tls_context: send tls_certificates or tls_certificate_sds_secret_configs")
	}
	return b, within("typed_config", b.whole())
}

// upstreamTLS reads the transport socket of a cluster; nil for plain bytes.
func upstreamTLS(s *corev3.TransportSocket) (*tlsBlock, error) {
	u := &tlsv3.UpstreamTlsContext{}
	if plain, err := transport(s, u); plain || err != nil {
		return nil, err
	}
	if err := only(u, "common_tls_context", "sni", "max_session_keys", "enforce_rsa_key_usage"); err != nil {
		return nil, inside("typed_config", err)
	}
	b := &tlsBlock{TLS: config.TLS{Name: u.GetSni()}}
	if err := commonTLS(u.GetCommonTlsContext(), b); err != nil {
		return nil, inside("typed_config.common_tls_context", err)
	}
	if n := len(b.certificates) + len(b.Certificates); n > 1 {
		return nil, fmt.Errorf("typed_config.common_tls_context: %d certificates: a cluster shows one", n)
	}
	return b, within("typed_config", b.whole())
}

// whole finds the mistakes that no secret can mend.
func (b *tlsBlock) whole() error {
	t := b.TLS
	if len(b.secrets()) > 0 {
		t.Waiting = []string{"secrets"}
	}
	return b.check(&t)
}

// transport reads a transport socket into m, unless it is that of plain bytes.
func transport(s *corev3.TransportSocket, m proto.Message) (plain bool, err error) {
	typed := s.GetTypedConfig()
	switch {
	case s == nil, typed.GetTypeUrl() == typeRawBuffer:
		return true, nil
	case fips140.Enforced():
		return false, record.ErrFIPS
	case !typed.MessageIs(m):
		return false, fmt.Errorf("typed_config: %q is unsupported: use %s", typed.GetTypeUrl(), m.ProtoReflect().Descriptor().Name())
	}
	return false, within("typed_config", typed.UnmarshalTo(m))
}

func commonTLS(c *tlsv3.CommonTlsContext, b *tlsBlock) error {
	err := only(c, "tls_params", "tls_certificates", "tls_certificate_sds_secret_configs", "alpn_protocols", "validation_context",
		"validation_context_sds_secret_config", "combined_validation_context")
	if err != nil {
		return err
	}
	b.ALPN = c.GetAlpnProtocols()
	if b.MinVersion, err = tlsParams(c.GetTlsParams()); err != nil {
		return inside("tls_params", err)
	}
	if n := len(c.GetTlsCertificates()) + len(c.GetTlsCertificateSdsSecretConfigs()); n > maxCertificates {
		return fmt.Errorf("tls_certificates: %d are too many: send up to %d", n, maxCertificates)
	}
	for i, t := range c.GetTlsCertificates() {
		cert, err := certificate("", t)
		if err != nil {
			return fmt.Errorf("tls_certificates[%d].%w", i, err)
		}
		b.Certificates = append(b.Certificates, *cert)
	}
	for i, s := range c.GetTlsCertificateSdsSecretConfigs() {
		name, err := secretName(s)
		if err == nil && len(b.Certificates) > 0 {
			err = errors.New("tls_certificates are there, too: send one of both")
		}
		if err != nil {
			return fmt.Errorf("tls_certificate_sds_secret_configs[%d]: %w", i, err)
		}
		b.certificates = append(b.certificates, name)
	}
	return validationOf(c, b)
}

func validationOf(c *tlsv3.CommonTlsContext, b *tlsBlock) error {
	var err error
	sds, own, field := c.GetValidationContextSdsSecretConfig(), c.GetValidationContext(), "validation_context"
	if combined := c.GetCombinedValidationContext(); combined != nil {
		if err := only(combined, "default_validation_context", "validation_context_sds_secret_config"); err != nil {
			return inside("combined_validation_context", err)
		}
		sds, own, field = combined.GetValidationContextSdsSecretConfig(), combined.GetDefaultValidationContext(), "combined_validation_context.default_validation_context"
		if sds == nil {
			return errors.New("combined_validation_context.validation_context_sds_secret_config: name a secret")
		}
	}
	if own != nil {
		v, err := validation("", own)
		if err != nil {
			return inside(field, err)
		}
		b.Trust, b.Peers = v.roots, v.peers
	}
	if sds != nil {
		b.trust, err = secretName(sds)
	}
	return within("validation_context_sds_secret_config", err)
}

func secretName(s *tlsv3.SdsSecretConfig) (string, error) {
	if s.GetName() == "" {
		return "", errors.New("name: name a secret")
	}
	if s.GetSdsConfig().GetAds() == nil {
		return "", errors.New("sds_config: secrets come over the same stream: set ads")
	}
	return s.GetName(), nil
}

// tlsParams returns the least version, as crypto/tls has it; 0 for the default.
func tlsParams(p *tlsv3.TlsParameters) (uint16, error) {
	if err := only(p, "tls_minimum_protocol_version", "tls_maximum_protocol_version"); err != nil {
		return 0, err
	}
	if v := p.GetTlsMaximumProtocolVersion(); v != tlsv3.TlsParameters_TLS_AUTO && v != tlsv3.TlsParameters_TLSv1_3 {
		return 0, fmt.Errorf("tls_maximum_protocol_version: %s is unsupported: use TLS_AUTO or TLSv1_3", v)
	}
	switch v := p.GetTlsMinimumProtocolVersion(); v {
	case tlsv3.TlsParameters_TLS_AUTO:
		return 0, nil
	case tlsv3.TlsParameters_TLSv1_2:
		return tls.VersionTLS12, nil
	case tlsv3.TlsParameters_TLSv1_3:
		return tls.VersionTLS13, nil
	default:
		return 0, fmt.Errorf("tls_minimum_protocol_version: %s is unsupported: use TLSv1_2 or TLSv1_3", v)
	}
}

// peer reads a matcher of subject alternative names as an entry of config.TLS.Peers.
func peer(m *tlsv3.SubjectAltNameMatcher) (string, error) {
	if err := only(m, "san_type", "matcher"); err != nil {
		return "", err
	}
	exact, open := m.GetMatcher().GetMatchPattern().(*matcherv3.StringMatcher_Exact)
	prefix, begins := m.GetMatcher().GetMatchPattern().(*matcherv3.StringMatcher_Prefix)
	uri := m.GetSanType() == tlsv3.SubjectAltNameMatcher_URI
	switch {
	case !uri && m.GetSanType() != tlsv3.SubjectAltNameMatcher_DNS:
		return "", fmt.Errorf("san_type: %s is unsupported: use URI or DNS", m.GetSanType())
	case uri && m.GetMatcher().GetIgnoreCase():
		return "", errors.New("matcher.ignore_case: a URI is taken as it is")
	case !open && (!begins || !uri):
		return "", errors.New("matcher: use exact, or for a URI prefix")
	}
	if open {
		return exact.Exact, sanText(exact.Exact, uri)
	}
	text := prefix.Prefix + "*"
	if strings.Contains(prefix.Prefix, "*") || !strings.Contains(text, ":") {
		return "", fmt.Errorf("matcher: %q is no URI's beginning", prefix.Prefix)
	}
	return text, within("matcher", config.CheckPeer(text))
}

// sanText wants a name that means as an entry of Peers what it means in a matcher.
func sanText(text string, uri bool) error {
	switch {
	case text == "":
		return errors.New("matcher: it is empty")
	case strings.Contains(text, "*"):
		return fmt.Errorf("matcher: %q: there are no wildcards", text)
	case uri != strings.Contains(text, ":"):
		return fmt.Errorf("matcher: %q does not look like the san_type", text)
	}
	return within("matcher", config.CheckPeer(text))
}
