package handshake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	record "github.com/axlemesh/axle/sidecar/codec/tls"
	"github.com/axlemesh/axle/sidecar/config"
)

// issuer makes certificates.
type issuer struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t testing.TB) *issuer {
	i := &issuer{t: t, dir: t.TempDir(), key: newKey(t)}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	i.cert = i.sign(template, template, i.key)
	i.save("ca.pem", "CERTIFICATE", i.cert.Raw)
	return i
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (i *issuer) sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	i.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return cert
}

func (i *issuer) save(name, kind string, der []byte) string {
	i.t.Helper()
	file := filepath.Join(i.dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		i.t.Fatal(err)
	}
	return file
}

// leaf makes a certificate for both sides of a connection, with a DNS name and a URI, and saves it.
func (i *issuer) leaf(name, uri string, usage ...x509.ExtKeyUsage) (cert *x509.Certificate, certFile, keyFile string) {
	i.t.Helper()
	key := newKey(i.t)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}, ExtKeyUsage: usage}
	if uri != "" {
		u, err := url.Parse(uri)
		if err != nil {
			i.t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	}
	cert = i.sign(template, i.cert, key)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		i.t.Fatal(err)
	}
	return cert, i.save("tls.crt", "CERTIFICATE", cert.Raw), i.save("tls.key", "PRIVATE KEY", secret)
}

var both = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}

func TestVerify(t *testing.T) {
	ours, other := newIssuer(t), newIssuer(t)
	good, _, _ := ours.leaf("web.test", "spiffe://mesh/ns/shop/sa/web", both...)
	foreign, _, _ := other.leaf("web.test", "spiffe://mesh/ns/shop/sa/web", both...)
	ca := filepath.Join(ours.dir, "ca.pem")
	limited, certFile, keyFile := ours.leaf("web.test", "", x509.ExtKeyUsageServerAuth)
	cases := map[string]struct {
		peers  []string
		client bool // a cluster's block
		name   string
		leaf   *x509.Certificate
		want   string // "" for a good one
	}{
		"any of a trusted root":   {leaf: good},
		"by its URI":              {peers: []string{"spiffe://mesh/ns/shop/sa/web"}, leaf: good},
		"by its namespace":        {peers: []string{"other.test", "spiffe://mesh/ns/shop/*"}, leaf: good},
		"by its DNS name":         {peers: []string{"WEB.test"}, leaf: good},
		"not on the list":         {peers: []string{"spiffe://mesh/ns/shop/sa/we", "spiffe://mesh/ns/sho/*"}, leaf: good, want: `the peer is "spiffe://mesh/ns/shop/sa/web" and "web.test", and "spiffe://mesh/ns/shop/sa/we" or "spiffe://mesh/ns/sho/*" is wanted`},
		"of another root":         {leaf: foreign, want: "unknown authority"},
		"a server's as a client":  {leaf: limited, want: "key usage"},
		"none":                    {want: "no certificate"},
		"an endpoint by its name": {client: true, name: "web.test", leaf: good},
		"an endpoint of another":  {client: true, name: "pay.test", leaf: good, want: "not pay.test"},
		"a listed endpoint":       {client: true, name: "pay.test", peers: []string{"spiffe://mesh/*"}, leaf: good},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c, err := Load(&config.TLS{Certificates: []config.Certificate{config.Pair(certFile, keyFile)}, Trust: config.PEM{File: ca}, Peers: tc.peers, Name: tc.name}, !tc.client)
			if err != nil {
				t.Fatal(err)
			}
			var chain [][]byte
			if tc.leaf != nil {
				chain = [][]byte{tc.leaf.Raw}
			}
			if err := c.Verify(chain); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
	c, err := Load(&config.TLS{Certificates: []config.Certificate{config.Pair(certFile, keyFile)}}, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Verify(nil); err != nil {
		t.Errorf("where no certificate is asked for: %v", err)
	}
	if c.Verify([][]byte{[]byte("?")}) != nil {
		t.Error("where no certificate is asked for, one is read")
	}
}

func TestLoadReportsEveryMistake(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(&config.TLS{Certificates: []config.Certificate{config.Pair("nowhere.pem", "nowhere.key")}, Trust: config.PEM{File: empty}}, true)
	if err == nil || !strings.Contains(err.Error(), `certificate "nowhere.pem" with key "nowhere.key"`) || !strings.Contains(err.Error(), "no certificate in it") {
		t.Errorf("%v, want both mistakes", err)
	}
}

func TestRefresh(t *testing.T) {
	i := newIssuer(t)
	_, certFile, keyFile := i.leaf("one.test", "", both...)
	c, err := Load(&config.TLS{Certificates: []config.Certificate{config.Pair(certFile, keyFile)}}, true)
	if err != nil {
		t.Fatal(err)
	}
	first := c.Config()
	step := func(what string, wantChanged, wantErr bool) {
		t.Helper()
		changed, err := c.Refresh()
		if changed != wantChanged || (err != nil) != wantErr {
			t.Errorf("%s: changed %t, %v", what, changed, err)
		}
	}
	step("nothing has changed", false, false)
	time.Sleep(5 * time.Millisecond)
	i.leaf("two.test", "", both...)
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	step("a certificate without its key", false, true)
	step("it is said once", false, false)
	if c.Config() != first {
		t.Error("what could not be read has changed something")
	}
	time.Sleep(5 * time.Millisecond)
	i.leaf("two.test", "", both...)
	step("both are there", true, false)
	if c.Config() == first {
		t.Error("new files have changed nothing")
	}
}

// TestFIPSOnly runs in a process of that mode.
func TestFIPSOnly(t *testing.T) {
	if os.Getenv("FIPS_CHILD") == "1" {
		if _, err := Load(&config.TLS{Name: "x"}, false); !errors.Is(err, record.ErrFIPS) {
			t.Errorf("%v, want %v", err, record.ErrFIPS)
		}
		if _, err := record.New(record.Secrets{Version: record.VersionTLS13, Suite: 0x1301}); !errors.Is(err, record.ErrFIPS) {
			t.Errorf("%v, want %v", err, record.ErrFIPS)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFIPSOnly$")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only", "FIPS_CHILD=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
