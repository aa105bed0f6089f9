package docs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// root issues certificates for a test.
type root struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newRoot(t *testing.T) *root {
	t.Helper()
	r := &root{t: t, pool: x509.NewCertPool()}
	r.cert = &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	var err error
	if r.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, r.cert, r.cert, &r.key.PublicKey, r.key)
	if err != nil {
		t.Fatal(err)
	}
	if r.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	r.pool.AddCert(r.cert)
	return r
}

// issue returns a certificate and its key, both as PEM.
func (r *root) issue(serial int64, name, id string) (cert, key []byte) {
	r.t.Helper()
	u, err := url.Parse(id)
	if err != nil {
		r.t.Fatal(err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}, URIs: []*url.URL{u},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, r.cert, &private.PublicKey, r.key)
	if err != nil {
		r.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		r.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

func (r *root) pair(serial int64, name, id string) tls.Certificate {
	r.t.Helper()
	pair, err := tls.X509KeyPair(r.issue(serial, name, id))
	if err != nil {
		r.t.Fatal(err)
	}
	return pair
}

// TestTLSSample serves tls.yaml: with certificates and, permissively, without, to an endpoint that demands one, across a
// takeover, and with files that are replaced meanwhile.
func TestTLSSample(t *testing.T) {
	p, r := newPlace(t), newRoot(t)
	file := p.file("tls.yaml", "tls.yaml")
	folder := filepath.Join(p.dir, "etc/axle/tls")
	for _, dir := range []string{folder, filepath.Join(p.dir, "run/axle")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	save := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	save("ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.cert.Raw}))
	renew := func(serial int64) {
		cert, key := r.issue(serial, "shop.demo", "spiffe://mesh.demo/ns/shop/sa/shop")
		save("tls.crt", cert)
		save("tls.key", key)
	}
	renew(100)
	cert, key := r.issue(50, "api.demo", "spiffe://mesh.demo/ns/shop/sa/api")
	save("api.crt", cert)
	save("api.key", key)
	repeat(t, p.move("127.0.0.1:18092"))
	demanding(t, r, p.move("127.0.0.1:18444"))
	if out, err := exec.Command(program(t, "axle-sidecar"), "check", "-f", file).CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Fatalf("check: %v, %s", err, out)
	}
	first := start(t, program(t, "axle-sidecar"), "run", "-f", file)
	eventually(t, "ready", func() bool { return page(p.move("http://127.0.0.1:13371/readyz")) == "ok\n" })

	shop := func() *http.Client {
		return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs: r.pool, ServerName: "shop.demo", Certificates: []tls.Certificate{r.pair(7, "web.demo", "spiffe://mesh.demo/ns/web/sa/web")},
		}}}
	}
	early := shop()
	inbound, outbound := p.move("127.0.0.1:18443"), p.move("http://127.0.0.1:18002")
	ask := func(c *http.Client, url string) (serial int64) {
		t.Helper()
		res, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: status %d, %q, %v", url, res.StatusCode, body, err)
		}
		if res.TLS != nil {
			serial = res.TLS.PeerCertificates[0].SerialNumber.Int64()
		}
		return serial
	}
	if got := ask(early, "https://"+inbound+"/a"); got != 100 {
		t.Errorf("certificate %d, want 100", got)
	}
	api := shop()
	api.Transport.(*http.Transport).TLSClientConfig.ServerName = "api.demo"
	if got := ask(api, "https://"+inbound+"/api"); got != 50 {
		t.Errorf("certificate %d, want 50", got)
	}
	ask(http.DefaultClient, "http://"+inbound+"/plain")
	ask(http.DefaultClient, outbound+"/pay")

	renew(101)
	eventually(t, "a new handshake is shown the new certificate", func() bool { return ask(shop(), "https://"+inbound+"/b") == 101 })
	start(t, program(t, "axle-sidecar"), "run", "-f", file, "--takeover")
	if code := first.exit(); code != 0 {
		t.Errorf("the first exited with %d", code)
	}
	if got := ask(early, "https://"+inbound+"/c"); got != 100 {
		t.Errorf("certificate %d, want that of the same connection as before", got)
	}
	ask(http.DefaultClient, outbound+"/pay")
}

// demanding is the payment service, which wants a certificate of the shop's.
func demanding(t *testing.T, r *root, address string) {
	t.Helper()
	cfg := &tls.Config{
		ClientCAs: r.pool, ClientAuth: tls.RequireAndVerifyClientCert,
		Certificates: []tls.Certificate{r.pair(8, "pay.demo", "spiffe://mesh.demo/ns/pay/sa/pay")},
	}
	l, err := tls.Listen("tcp", address, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = fmt.Fprint(w, req.TLS.PeerCertificates[0].URIs[0])
	}))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
}
