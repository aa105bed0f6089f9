package handshake

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// of makes a certificate for names with the given key, as the control plane would send it.
func (i *issuer) of(serial int64, key crypto.Signer, names ...string) config.Certificate {
	i.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: names, ExtKeyUsage: both}
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, key.Public(), i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		i.t.Fatal(err)
	}
	sent := func(kind string, der []byte) config.PEM {
		return config.PEM{Secret: fmt.Sprint(serial), Sent: config.Hide(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))}
	}
	return config.Certificate{Chain: sent("CERTIFICATE", der), Key: sent("PRIVATE KEY", secret)}
}

// shown is the serial number of the certificate that a client gets.
func shown(t *testing.T, c *Context, client *tls.Config) int64 {
	t.Helper()
	ours, theirs := net.Pipe()
	defer func() { _ = ours.Close(); _ = theirs.Close() }()
	go func() { _ = tls.Server(ours, c.Config()).Handshake() }()
	conn := tls.Client(theirs, client)
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// TestSeveralCertificates asks a listener for names, as clients that know ECDSA, RSA or both.
func TestSeveralCertificates(t *testing.T) {
	i := newIssuer(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := &config.TLS{Certificates: []config.Certificate{
		i.of(1, newKey(t), "first.test"),
		i.of(2, newKey(t), "*.shop.test"),
		i.of(3, newKey(t), "web.shop.test", "WWW.shop.test"),
		i.of(4, rsaKey, "web.shop.test"),
		i.of(5, rsaKey, "other.test"),
	}}
	c, err := Load(block, true)
	if err != nil {
		t.Fatal(err)
	}
	both := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	cases := map[string]struct {
		name   string
		suites []uint16
		want   int64
	}{
		"an exact name before a wildcard":       {"web.shop.test", both, 3},
		"in another case":                       {"www.SHOP.test", both, 3},
		"a wildcard":                            {"pay.shop.test", both, 2},
		"a wildcard is one label":               {"a.pay.shop.test", both, 1},
		"a wildcard is not nothing":             {"shop.test", both, 1},
		"a name that nobody has":                {"nobody.test", both, 1},
		"no name":                               {"", both, 1},
		"a client that knows RSA only":          {"web.shop.test", both[1:], 4},
		"one that asks for a name of ECDSA's":   {"pay.shop.test", both[1:], 4},
		"one that knows ECDSA, and the name of": {"other.test", both[:1], 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := &tls.Config{ServerName: tc.name, CipherSuites: tc.suites, MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true}
			if got := shown(t, c, cfg); got != tc.want {
				t.Errorf("certificate %d, want %d", got, tc.want)
			}
		})
	}
	// TLS 1.3 tells by signature algorithms, of which every client of crypto/tls has all: the name decides.
	if got := shown(t, c, &tls.Config{ServerName: "other.test", InsecureSkipVerify: true}); got != 5 {
		t.Errorf("certificate %d, want 5", got)
	}
}

func TestAPairThatDoesNotFit(t *testing.T) {
	i := newIssuer(t)
	one, two := i.of(1, newKey(t), "a.test"), i.of(2, newKey(t), "b.test")
	_, err := Load(&config.TLS{Certificates: []config.Certificate{one, {Chain: one.Chain, Key: two.Key}}, Trust: config.PEM{File: filepath.Join(i.dir, "ca.pem")}}, true)
	want := `read the certificate of secret "1": tls: private key does not match public key`
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
