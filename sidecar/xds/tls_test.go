package xds

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/axlemesh/axle/sidecar/config"
)

// pair is a certificate that signs itself, and its key, as PEM.
type pair struct{ cert, key string }

func newPair() pair {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"web.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pair{
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})),
	}
}

var pairs = sync.OnceValue(func() [2]pair { return [2]pair{newPair(), newPair()} })

func inline(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
}

func (p pair) proto() *tlsv3.TlsCertificate {
	return &tlsv3.TlsCertificate{CertificateChain: inline(p.cert), PrivateKey: inline(p.key)}
}

// certSecret and trustSecret are what a server sends.
func certSecret(name string, p pair) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: p.proto()}}
}

func trustSecret(name, roots string, peers ...*tlsv3.SubjectAltNameMatcher) *tlsv3.Secret {
	v := &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: peers}
	if roots != "" {
		v.TrustedCa = inline(roots)
	}
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: v}}
}

func sds(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{}}}
}

func exact(t tlsv3.SubjectAltNameMatcher_SanType, s string) *tlsv3.SubjectAltNameMatcher {
	return &tlsv3.SubjectAltNameMatcher{SanType: t, Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}}
}

func prefix(t tlsv3.SubjectAltNameMatcher_SanType, s string) *tlsv3.SubjectAltNameMatcher {
	return &tlsv3.SubjectAltNameMatcher{SanType: t, Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: s}}}
}

const (
	uri = tlsv3.SubjectAltNameMatcher_URI
	dns = tlsv3.SubjectAltNameMatcher_DNS
)

func socketOf(m proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(m)}}
}

// secured is inbound with TLS by secrets.
func secured(c *tlsv3.CommonTlsContext) *listenerv3.Listener {
	l := inbound()
	l.FilterChains[0].TransportSocket = socketOf(&tlsv3.DownstreamTlsContext{CommonTlsContext: c, RequireClientCertificate: wrapperspb.Bool(validated(c))})
	return l
}

func validated(c *tlsv3.CommonTlsContext) bool { return c.GetValidationContextType() != nil }

func bySecrets(trust string, certs ...string) *tlsv3.CommonTlsContext {
	c := &tlsv3.CommonTlsContext{}
	for _, name := range certs {
		c.TlsCertificateSdsSecretConfigs = append(c.TlsCertificateSdsSecretConfigs, sds(name))
	}
	if trust != "" {
		c.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{ValidationContextSdsSecretConfig: sds(trust)}
	}
	return c
}

func securedCluster(name, sni string, c *tlsv3.CommonTlsContext) *clusterv3.Cluster {
	out := edsCluster(name)
	out.TransportSocket = socketOf(&tlsv3.UpstreamTlsContext{CommonTlsContext: c, Sni: sni})
	return out
}

func combined(own *tlsv3.CertificateValidationContext, secret string) *tlsv3.CommonTlsContext_CombinedValidationContext {
	return &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
		DefaultValidationContext: own, ValidationContextSdsSecretConfig: sds(secret),
	}}
}

// pem of a block, revealed for comparison.
type flat struct {
	Certificates, Peers, Waiting []string
	Trust, Name                  string
	Optional                     bool
	ALPN                         []string
	MinVersion                   uint16
}

func flatten(t *config.TLS) *flat {
	if t == nil {
		return nil
	}
	f := &flat{Peers: t.Peers, Waiting: t.Waiting, Trust: string(t.Trust.Sent.Reveal()), Name: t.Name, Optional: t.Optional, ALPN: t.ALPN, MinVersion: t.MinVersion}
	for _, c := range t.Certificates {
		f.Certificates = append(f.Certificates, string(c.Chain.Sent.Reveal())+string(c.Key.Sent.Reveal()))
	}
	return f
}

func TestDownstreamTLS(t *testing.T) {
	a, b := pairs()[0], pairs()[1]
	ca := &tlsv3.CertificateValidationContext{TrustedCa: inline(a.cert), MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{
		exact(uri, "spiffe://m/a"), prefix(uri, "spiffe://m/ns/"), exact(dns, "web.test"),
	}}
	own := &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: ca}
	one := []*tlsv3.TlsCertificate{a.proto()}
	with := func(change func(*tlsv3.DownstreamTlsContext, *tlsv3.CommonTlsContext)) *tlsv3.DownstreamTlsContext {
		c := &tlsv3.CommonTlsContext{TlsCertificates: one}
		d := &tlsv3.DownstreamTlsContext{CommonTlsContext: c}
		change(d, c)
		return d
	}
	matching := func(m *tlsv3.SubjectAltNameMatcher) *tlsv3.DownstreamTlsContext {
		return with(func(_ *tlsv3.DownstreamTlsContext, c *tlsv3.CommonTlsContext) {
			c.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
				TrustedCa: inline(a.cert), MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{m},
			}}
		})
	}
	cases := map[string]struct {
		in   proto.Message
		want *flat
		err  string
	}{
		"several certificates": {
			in: with(func(_ *tlsv3.DownstreamTlsContext, c *tlsv3.CommonTlsContext) {
				c.TlsCertificates = []*tlsv3.TlsCertificate{a.proto(), b.proto()}
				c.AlpnProtocols = []string{"h2"}
				c.TlsParams = &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}
			}),
			want: &flat{Certificates: []string{a.cert + a.key, b.cert + b.key}, ALPN: []string{"h2"}, MinVersion: tls.VersionTLS13},
		},
		"mutual": {
			in: with(func(d *tlsv3.DownstreamTlsContext, c *tlsv3.CommonTlsContext) {
				c.ValidationContextType, d.RequireClientCertificate = own, wrapperspb.Bool(true)
			}),
			want: &flat{Certificates: []string{a.cert + a.key}, Trust: a.cert, Peers: []string{"spiffe://m/a", "spiffe://m/ns/*", "web.test"}},
		},
		"certificates of clients are optional": {
			in:   with(func(_ *tlsv3.DownstreamTlsContext, c *tlsv3.CommonTlsContext) { c.ValidationContextType = own }),
			want: &flat{Certificates: []string{a.cert + a.key}, Trust: a.cert, Optional: true, Peers: []string{"spiffe://m/a", "spiffe://m/ns/*", "web.test"}},
		},
		"by secrets that are not here": {
			in:   &tlsv3.DownstreamTlsContext{CommonTlsContext: bySecrets("trust", "x", "y")},
			want: &flat{Optional: true, Waiting: []string{`secret "x"`, `secret "y"`, `secret "trust"`}},
		},
		"plain bytes":        {in: &anypb.Any{TypeUrl: typeRawBuffer}},
		"no certificate":     {in: &tlsv3.DownstreamTlsContext{}, err: "typed_config.common_tls_context: send tls_certificates or"},
		"a client's context": {in: &tlsv3.UpstreamTlsContext{}, err: "use DownstreamTlsContext"},
		"demanded, and not trusted": {in: with(func(d *tlsv3.DownstreamTlsContext, _ *tlsv3.CommonTlsContext) {
			d.RequireClientCertificate = wrapperspb.Bool(true)
		}), err: "require_client_certificate: send a validation context"},
		"another demand": {in: with(func(d *tlsv3.DownstreamTlsContext, _ *tlsv3.CommonTlsContext) { d.RequireSni = wrapperspb.Bool(true) }), err: "typed_config.require_sni: unsupported"},
		"a key in a file": {in: with(func(_ *tlsv3.DownstreamTlsContext, c *tlsv3.CommonTlsContext) {
			c.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: inline(a.cert), PrivateKey: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: "/etc/shadow"}}}}
		}), err: "tls_certificates[0].private_key: send inline_bytes"},
		"a key of another": {in: with(func(_ *tlsv3.DownstreamTlsContext, c *tlsv3.CommonTlsContext) {
			c.TlsCertificates = append(one, pair{a.cert, b.key}.proto())
		}), err: "tls_certificates[1].certificate_chain and private_key: tls: private key does not match"},
		"an old version": {in: with(func(_ *tlsv3.DownstreamTlsContext, c *tlsv3.CommonTlsContext) {
			c.TlsParams = &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_1}
		}), err: "tls_params.tls_minimum_protocol_version: TLSv1_1"},
		"no newer version": {in: with(func(_ *tlsv3.DownstreamTlsContext, c *tlsv3.CommonTlsContext) {
			c.TlsParams = &tlsv3.TlsParameters{TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_2}
		}), err: "tls_maximum_protocol_version"},
		"suites": {in: with(func(_ *tlsv3.DownstreamTlsContext, c *tlsv3.CommonTlsContext) {
			c.TlsParams = &tlsv3.TlsParameters{CipherSuites: []string{"x"}}
		}), err: "tls_params.cipher_suites: unsupported"},
		"secrets of another server": {in: &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "x"}}}}, err: "tls_certificate_sds_secret_configs[0]: sds_config: secrets come over the same stream"},
		"both ways at once": {in: with(func(_ *tlsv3.DownstreamTlsContext, c *tlsv3.CommonTlsContext) {
			c.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{sds("x")}
		}), err: "send one of both"},
		"a wildcard":             {in: matching(exact(uri, "spiffe://m/*")), err: "there are no wildcards"},
		"half a trust domain":    {in: matching(prefix(uri, "spiffe://m")), err: "put a / before"},
		"a bad trust domain":     {in: matching(exact(uri, "spiffe://M/a")), err: "match_typed_subject_alt_names[0]: matcher: \"spiffe://M/a\" is no SPIFFE ID: its trust domain"},
		"a DNS name's beginning": {in: matching(prefix(dns, "web")), err: "use exact, or for a URI prefix"},
		"an address":             {in: matching(exact(tlsv3.SubjectAltNameMatcher_IP_ADDRESS, "10.0.0.1")), err: "IP_ADDRESS is unsupported"},
		"a URI that is a name":   {in: matching(exact(uri, "web.test")), err: "does not look like the san_type"},
		"a name that is a URI":   {in: matching(exact(dns, "spiffe://m/a")), err: "does not look like the san_type"},
		"an expression":          {in: matching(&tlsv3.SubjectAltNameMatcher{SanType: uri, Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "x"}}}), err: "use exact"},
		"peers without roots": {in: with(func(_ *tlsv3.DownstreamTlsContext, c *tlsv3.CommonTlsContext) {
			c.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: ca.MatchTypedSubjectAltNames}}
		}), err: "there is no trust to check them against"},
		"a combination without secret": {in: with(func(_ *tlsv3.DownstreamTlsContext, c *tlsv3.CommonTlsContext) {
			c.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{}}
		}), err: "combined_validation_context.validation_context_sds_secret_config: name a secret"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := socketOf(tc.in)
			if raw, ok := tc.in.(*anypb.Any); ok {
				s.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: raw}
			}
			got, err := downstreamTLS(s)
			said(t, err, tc.err)
			if err != nil {
				return
			}
			if diff := cmp.Diff(tc.want, flatten(got.resolve(nil))); diff != "" {
				t.Errorf("block (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUpstreamTLS(t *testing.T) {
	a, b := pairs()[0], pairs()[1]
	ca := &tlsv3.CertificateValidationContext{TrustedCa: inline(a.cert)}
	cases := map[string]struct {
		in      *tlsv3.UpstreamTlsContext
		secrets []*tlsv3.Secret
		want    *flat
		err     string
	}{
		"by its name": {
			in:   &tlsv3.UpstreamTlsContext{Sni: "pay.test", CommonTlsContext: &tlsv3.CommonTlsContext{ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: ca}}},
			want: &flat{Name: "pay.test", Trust: a.cert},
		},
		"a combination": {
			in: &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{sds("own")},
				ValidationContextType:          combined(&tlsv3.CertificateValidationContext{TrustedCa: inline(a.cert), MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{exact(uri, "spiffe://m/a")}}, "trust"),
			}},
			secrets: []*tlsv3.Secret{certSecret("own", a), trustSecret("trust", b.cert, exact(dns, "b.test"))},
			want:    &flat{Certificates: []string{a.cert + a.key}, Trust: b.cert, Peers: []string{"spiffe://m/a", "b.test"}},
		},
		"a combination whose own roots stay": {
			in:      &tlsv3.UpstreamTlsContext{Sni: "x", CommonTlsContext: &tlsv3.CommonTlsContext{ValidationContextType: combined(ca, "trust")}},
			secrets: []*tlsv3.Secret{trustSecret("trust", "", exact(dns, "b.test"))},
			want:    &flat{Name: "x", Trust: a.cert, Peers: []string{"b.test"}},
		},
		"a combination is not half of it": {
			in:   &tlsv3.UpstreamTlsContext{Sni: "x", CommonTlsContext: &tlsv3.CommonTlsContext{ValidationContextType: combined(ca, "trust")}},
			want: &flat{Name: "x", Trust: a.cert, Waiting: []string{`secret "trust"`}},
		},
		"secrets of the wrong kind": {
			in:      &tlsv3.UpstreamTlsContext{Sni: "x", CommonTlsContext: bySecrets("trust", "own")},
			secrets: []*tlsv3.Secret{certSecret("trust", a), trustSecret("own", b.cert)},
			want:    &flat{Name: "x", Waiting: []string{`secret "own" as a tls_certificate`, `secret "trust" as a validation_context`}},
		},
		"a secret that names nobody": {
			in:      &tlsv3.UpstreamTlsContext{CommonTlsContext: bySecrets("trust")},
			secrets: []*tlsv3.Secret{trustSecret("trust", b.cert)},
			want:    &flat{Trust: b.cert, Waiting: []string{"secrets that fit: tls: it needs a name or peers: else any certificate of a trusted root would do"}},
		},
		"nobody":           {in: &tlsv3.UpstreamTlsContext{}, err: "typed_config: tls: it needs a name or peers"},
		"two certificates": {in: &tlsv3.UpstreamTlsContext{Sni: "x", CommonTlsContext: bySecrets("", "a", "b")}, err: "2 certificates: a cluster shows one"},
		"renegotiation":    {in: &tlsv3.UpstreamTlsContext{Sni: "x", AllowRenegotiation: true}, err: "allow_renegotiation: unsupported"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := upstreamTLS(socketOf(tc.in))
			said(t, err, tc.err)
			if err != nil {
				return
			}
			held := map[string]resource{}
			for _, s := range tc.secrets {
				v, err := translateSecret(s)
				if err != nil {
					t.Fatal(err)
				}
				held[s.GetName()] = resource{value: v}
			}
			if diff := cmp.Diff(tc.want, flatten(got.resolve(held))); diff != "" {
				t.Errorf("block (-want +got):\n%s", diff)
			}
		})
	}
	c := securedCluster("c", "x", &tlsv3.CommonTlsContext{})
	c.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{{Name: "x"}}
	_, err := translateCluster(c)
	said(t, err, "transport_socket_matches: unsupported")
}

func TestTranslateSecret(t *testing.T) {
	a, b := pairs()[0], pairs()[1]
	cases := map[string]struct {
		in  *tlsv3.Secret
		err string
	}{
		"a certificate":            {in: certSecret("s", a)},
		"roots":                    {in: trustSecret("s", a.cert+b.cert)},
		"peers only":               {in: trustSecret("s", "", exact(uri, "spiffe://m/a"))},
		"nothing":                  {in: &tlsv3.Secret{Name: "s"}, err: "send a tls_certificate or a validation_context"},
		"tickets":                  {in: &tlsv3.Secret{Type: &tlsv3.Secret_SessionTicketKeys{}}, err: "send a tls_certificate"},
		"no key":                   {in: certSecret("s", pair{cert: a.cert}), err: "tls_certificate.private_key: 0 bytes"},
		"no chain":                 {in: certSecret("s", pair{key: a.key}), err: "tls_certificate.certificate_chain: 0 bytes"},
		"a key of another":         {in: certSecret("s", pair{a.cert, b.key}), err: "tls_certificate.certificate_chain and private_key: tls: private key does not match public key"},
		"rubbish":                  {in: certSecret("s", pair{"x", "y"}), err: "failed to find any PEM data"},
		"a huge one":               {in: certSecret("s", pair{strings.Repeat("x", maxPEM+1), "y"}), err: "1048577 bytes: send 1 to 1048576"},
		"roots that are no roots":  {in: trustSecret("s", "x"), err: "validation_context.trusted_ca: there is no certificate in it"},
		"roots with a key":         {in: trustSecret("s", a.cert+a.key), err: "validation_context.trusted_ca: there is a private key in it"},
		"a root that is torn":      {in: trustSecret("s", a.cert+"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), err: "trusted_ca: certificate 1: "},
		"a list of what is over":   {in: &tlsv3.Secret{Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{Crl: inline("x")}}}, err: "validation_context.crl: unsupported"},
		"a password":               {in: &tlsv3.Secret{Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(a.cert), PrivateKey: inline(a.key), Password: inline("x")}}}, err: "tls_certificate.password: unsupported"},
		"what no build knows well": {in: &tlsv3.Secret{Type: &tlsv3.Secret_TlsCertificate{}}, err: "tls_certificate.certificate_chain: send inline_bytes"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := translateSecret(tc.in)
			said(t, err, tc.err)
			if err != nil && strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("the error has the key in it: %v", err)
			}
		})
	}
}

// TestPipesUnderTLS: Unix-domain sockets take TLS as other endpoints do.
func TestPipesUnderTLS(t *testing.T) {
	c, err := translateCluster(&clusterv3.Cluster{
		Name: "s", LoadAssignment: pipes("/run/app.sock", "@app"), TransportSocket: socketOf(&tlsv3.UpstreamTlsContext{Sni: "app.demo"}),
	})
	if err != nil || len(c.Endpoints) != 2 || c.tls == nil {
		t.Errorf("%+v, %v", c, err)
	}
}
