package proxy_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// authority issues certificates, and keeps its own in a file.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
	file string
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	a.file = filepath.Join(a.dir, "ca.pem")
	a.save(a.file, "CERTIFICATE", der)
	return a
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return big.NewInt(1)
	}
	return n
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) save(file, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue makes a certificate for a DNS name and a SPIFFE ID, and writes it and its key to dir/name.pem and name.key.
func (a *authority) issue(name, id string) (cert, key string) {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if id != "" {
		u, err := url.Parse(id)
		if err != nil {
			a.t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	}
	return a.write(name, template, newKey(a.t))
}

// issueRSA makes one whose subject says so.
func (a *authority) issueRSA(name string) (cert, key string) {
	a.t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.write("RSA "+name, &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "RSA " + name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name},
	}, private)
}

func (a *authority) write(name string, template *x509.Certificate, private crypto.Signer) (cert, key string) {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	a.save(cert, "CERTIFICATE", der)
	a.save(key, "PRIVATE KEY", secret)
	return cert, key
}

func (a *authority) pair(name, id string) tls.Certificate {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(a.issue(name, id))
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

const (
	webID    = "spiffe://mesh.test/ns/shop/sa/web"
	serverID = "spiffe://mesh.test/ns/shop/sa/server"
)

// inbound is a listener's block that demands certificates of webID's namespace.
func (a *authority) inbound() *config.TLS {
	cert, key := a.issue("in.test", "spiffe://mesh.test/ns/shop/sa/in")
	return &config.TLS{Certificates: []config.Certificate{config.Pair(cert, key)}, Trust: config.PEM{File: a.file}, Peers: []string{"spiffe://mesh.test/ns/shop/*"}}
}

// outbound is a cluster's block that shows a certificate and wants serverID.
func (a *authority) outbound() *config.TLS {
	cert, key := a.issue("out.test", "spiffe://mesh.test/ns/shop/sa/out")
	return &config.TLS{Certificates: []config.Certificate{config.Pair(cert, key)}, Trust: config.PEM{File: a.file}, Name: "server.test", Peers: []string{serverID}}
}

// client is a tls.Config for a test's client, with a certificate.
func (a *authority) client(version uint16) *tls.Config {
	return &tls.Config{
		RootCAs: a.pool, ServerName: "in.test", Certificates: []tls.Certificate{a.pair("web.test", webID)}, MinVersion: version, MaxVersion: version,
	}
}

// server is a tls.Config for a test's server, which demands certificates.
func (a *authority) server(version uint16) *tls.Config {
	return &tls.Config{
		ClientCAs: a.pool, ClientAuth: tls.RequireAndVerifyClientCert, Certificates: []tls.Certificate{a.pair("server.test", serverID)},
		MinVersion: version, MaxVersion: version,
	}
}

var versions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}
