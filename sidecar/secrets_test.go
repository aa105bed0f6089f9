package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	"github.com/axlemesh/axle/sidecar/slot"
	"github.com/axlemesh/axle/sidecar/xds"
)

// mesh issues the certificates of a pod and its clients.
type mesh struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
	keys []string // a line of each key that was sent
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{t: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	var err error
	if m.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	m.cert, m.pem = m.sign(template, template, &m.key.PublicKey)
	return m
}

func (m *mesh) sign(template, parent *x509.Certificate, key *ecdsa.PublicKey) (*x509.Certificate, string) {
	m.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, m.key)
	if err != nil {
		m.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		m.t.Fatal(err)
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// issue makes a certificate of the account's SPIFFE ID.
func (m *mesh) issue(serial int64, account string) (cert, key string) {
	m.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	_, cert = m.sign(&x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{account + ".test"},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "mesh.test", Path: "/ns/shop/sa/" + account}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, m.cert, &private.PublicKey)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		m.t.Fatal(err)
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// client dials as an account, whoever the server says it is of m's.
func (m *mesh) client(port int, account string) func() (net.Conn, error) {
	m.t.Helper()
	pair, err := tls.X509KeyPair(bothBytes(m.issue(7, account)))
	if err != nil {
		m.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(m.cert)
	return func() (net.Conn, error) {
		d := &net.Dialer{Timeout: 2 * time.Second}
		return tls.DialWithDialer(d, "tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{RootCAs: pool, ServerName: "pay.test", Certificates: []tls.Certificate{pair}})
	}
}

func bothBytes(a, b string) ([]byte, []byte) { return []byte(a), []byte(b) }

func text(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
}

func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// secure gives the pod's listener TLS by the secrets "pay" and "trust", for clients of the namespace.
func (p *pod) secure() {
	p.t.Helper()
	ads := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{}}
	inside := &tlsv3.SubjectAltNameMatcher{SanType: tlsv3.SubjectAltNameMatcher_URI, Matcher: &matcherv3.StringMatcher{
		MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "spiffe://mesh.test/ns/shop/sa/w"},
	}}
	d := &tlsv3.DownstreamTlsContext{RequireClientCertificate: wrapperspb.Bool(true), CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "pay", SdsConfig: ads}},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{inside}},
			ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "trust", SdsConfig: ads},
		}},
	}}
	tcp := &tcpv3.TcpProxy{StatPrefix: "in", ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: fmt.Sprintf("inbound/%d", p.app.port)}}
	p.listenWith(p.port, packed(p.t, tcp), &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(p.t, d)}})
}

func (p *pod) secrets() *cache.LinearCache { return p.mux.Caches[xds.TypeSecret].(*cache.LinearCache) }

func (p *pod) send(s *tlsv3.Secret) {
	p.t.Helper()
	if err := p.secrets().UpdateResource(s.GetName(), s); err != nil {
		p.t.Fatal(err)
	}
}

// certify sends the pod's certificate.
func (m *mesh) certify(p *pod, serial int64) {
	m.t.Helper()
	cert, key := m.issue(serial, "pay")
	m.keys = append(m.keys, strings.Split(key, "\n")[1])
	p.send(&tlsv3.Secret{Name: "pay", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: text(cert), PrivateKey: text(key)}}})
}

func (m *mesh) trust(p *pod, roots ...*mesh) {
	m.t.Helper()
	all := m.pem
	for _, r := range roots {
		all += r.pem
	}
	p.send(&tlsv3.Secret{Name: "trust", Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: text(all)}}})
}

// shown is the serial number of the certificate that a new connection gets; 0 when there is none to be had.
func shown(dial func() (net.Conn, error)) int64 {
	c, err := dial()
	if err != nil {
		return 0
	}
	defer func() { _ = c.Close() }()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// TestSecretsOfAPod has them come late, rotates them under load, hands over while the server does not have them any more, and
// kills the proxy while nobody can send them.
func TestSecretsOfAPod(t *testing.T) {
	p, m := newPod(t), newMesh(t)
	p.secure()
	g1 := p.serve()
	if got := get(p.admin, "/config_dump"); !strings.Contains(got, `waits for secret`) || get(p.admin, "/readyz") != "" {
		t.Errorf("neither the dump nor /readyz says that it waits: %s", got)
	}
	p.says(1, "no port", func(r *controlv1.Report) bool { return len(r.GetState().GetListening()) == 0 })
	m.trust(p)
	m.certify(p, 100)
	p.says(1, "its port", func(r *controlv1.Report) bool { return len(r.GetState().GetListening()) == 1 })
	web := m.client(p.port, "web")
	eventually(t, "TLS", func() bool { return shown(web) == 100 })
	l := newClientsOver(t, 8, web)
	l.progress()
	for serial := int64(101); serial < 106; serial++ {
		m.certify(p, serial)
		eventually(t, "the new certificate", func() bool { return shown(web) == serial })
	}
	l.progress()
	stranger, err := m.client(p.port, "pay")()
	if err == nil {
		_, err = stranger.Read(make([]byte, 1))
	}
	if err == nil || !strings.Contains(err.Error(), "bad certificate") {
		t.Errorf("somebody else was told %v, want an alert", err)
	}
	want := `the peer is \"spiffe://mesh.test/ns/shop/sa/pay\" and \"pay.test\", and \"spiffe://mesh.test/ns/shop/sa/w*\" is wanted`
	eventually(t, "the log says who it was", func() bool { return strings.Contains(g1.log.String(), want) })

	if err := p.secrets().UpdateResources(nil, []string{"pay", "trust"}); err != nil {
		t.Fatal(err)
	}
	g2 := p.inject(2)
	p.phase(2, controlv1.State_STARTING)
	p.want(&controlv1.Desired{Generation: 2, Predecessor: 1, Begin: true, HandoverKey: []byte("one-time")})
	if code := g1.exit(); code != 0 {
		t.Errorf("generation 1 exited with %d", code)
	}
	p.phase(2, controlv1.State_SERVING)
	if got := shown(web); got != 105 {
		t.Errorf("after the handover a new client gets certificate %d", got)
	}
	l.progress()
	l.stop()

	p.grpc.Stop()
	if err := syscall.Kill(childOf(t, g2.cmd.Process.Pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "TLS again, with what the supervisor kept", func() bool { return shown(web) == 105 })
	dump := get(p.admin, "/config_dump")
	if !strings.Contains(dump, "(hidden)") {
		t.Errorf("the dump does not say that something is hidden: %s", dump)
	}
	for what, s := range map[string]string{"dump": dump, "first log": g1.log.String(), "second log": g2.log.String()} {
		for _, key := range m.keys {
			if strings.Contains(s, key) {
				t.Errorf("the %s has a key in it", what)
			}
		}
	}
}

// TestSecretsOfASlot reach its directory only if that is in memory.
func TestSecretsOfASlot(t *testing.T) {
	for name, root := range map[string]string{"on a disk": os.TempDir(), "in memory": "/dev/shm"} {
		t.Run(name, func(t *testing.T) {
			s, m := newSlotted(t), newMesh(t)
			dir := filepath.Join(root, fmt.Sprintf("axle-slots-%d", os.Getpid()))
			err := os.Mkdir(dir, 0o700)
			if err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			memory := slot.Dir(dir).InMemory()
			if memory != (root == "/dev/shm") {
				t.Skipf("%s is not what it is elsewhere", root)
			}
			s.move(dir)
			s.secure()
			m.trust(s.pod)
			m.certify(s.pod, 100)
			s.want(&controlv1.Desired{Generation: 2})
			s.start("a")
			s.serving(2)
			var kept []byte
			eventually(t, "the configuration is kept", func() bool {
				kept, err = slot.Dir(dir).State("xds")
				return err == nil && bytes.Contains(kept, []byte("inbound/"))
			})
			if bytes.Contains(kept, []byte(m.keys[0])) != memory {
				t.Errorf("the file has the key: %t, in memory: %t", !memory, memory)
			}
			s.grpc.Stop()
			crash(s.a)
			s.start("a")
			web := m.client(s.port, "web")
			if memory {
				eventually(t, "TLS without the control plane", func() bool { return shown(web) == 100 })
				return
			}
			eventually(t, "it says what it waits for", func() bool { return strings.Contains(get(s.admin, "/config_dump"), `waits for secret`) })
			s.up()
			eventually(t, "TLS with the control plane", func() bool { return shown(web) == 100 })
		})
	}
}

// move makes the slots' directory another one.
func (s *slotted) move(dir string) {
	s.t.Helper()
	token, err := os.ReadFile(s.dir + "/token")
	if err == nil {
		err = os.WriteFile(dir+"/token", token, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.dir = dir
	s.annotate()
}
