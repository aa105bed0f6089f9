// Package certs makes the certificates of one bench: an authority, and what both the proxies and the server behind them
// show. They live as long as the folder, which is a temporary one.
package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Files are where everything is, in PEM.
type Files struct {
	// CA is the authority, Chain the certificate, Key its key, and Both the two in one file.
	CA, Chain, Key, Both string
}

// In names the files of a folder.
func In(folder string) Files {
	at := func(name string) string { return filepath.Join(folder, name) }
	return Files{CA: at("ca.pem"), Chain: at("chain.pem"), Key: at("key.pem"), Both: at("both.pem")}
}

// valid is how long a certificate is good, and how long before now it has been: clocks differ.
const valid = 24 * time.Hour

// Write makes an authority and a certificate for host in a folder.
func Write(folder, host string, now time.Time) error {
	ca, caKey, err := sign(nil, nil, "Axle bench authority", now)
	if err != nil {
		return err
	}
	leaf, key, err := sign(ca, caKey, host, now)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the key of %s: %w", host, err)
	}
	text := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	chain, secret := text("CERTIFICATE", leaf.Raw), text("PRIVATE KEY", der)
	f := In(folder)
	for name, content := range map[string][]byte{
		f.CA: text("CERTIFICATE", ca.Raw), f.Chain: chain, f.Key: secret, f.Both: bytes.Join([][]byte{chain, secret}, nil),
	} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return fmt.Errorf("write a certificate: %w", err)
		}
	}
	return nil
}

// sign makes a certificate, of an authority when there is none to sign it.
func sign(by *x509.Certificate, with *ecdsa.PrivateKey, name string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, nil, fmt.Errorf("make a serial number: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-valid), NotAfter: now.Add(valid),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if by == nil {
		by, with, t.IsCA, t.KeyUsage = t, key, true, x509.KeyUsageCertSign
	} else {
		t.DNSNames = []string{name}
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, by, &key.PublicKey, with)
	if err != nil {
		return nil, nil, fmt.Errorf("sign %q: %w", name, err)
	}
	c, err := x509.ParseCertificate(der)
	return c, key, err
}

// Pool is the authority of a folder.
func Pool(folder string) (*x509.CertPool, error) {
	b, err := os.ReadFile(In(folder).CA)
	if err != nil {
		return nil, fmt.Errorf("authority of the certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("authority of the certificates in %s: %w", folder, errors.New("no certificate in it"))
	}
	return pool, nil
}
