// Package certs makes, keeps and rotates the operator's own certificates: one
// authority and one serving certificate, in one Secret that all replicas share.
// The webhook and the endpoint that sidecars dial serve the same certificate.
//
// It exists because sidecars carry the authority in their environment and
// cannot be given a file: a rotation has to announce the next authority long
// before it signs anything. cert-controller, which was weighed, replaces its
// authority in one step, reads the certificate back from a mounted volume (up
// to two minutes after writing it), and knows the webhook only.
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
	"slices"
	"time"
)

// How long certificates live. An authority is announced, beside the one that
// signs, announceBefore the end of that one; it signs after overlap, which is
// the time that sidecars have to learn of it over their connection. The old one
// stays in the bundle until it ends.
const (
	authorityLife  = 5 * 365 * 24 * time.Hour
	announceBefore = 365 * 24 * time.Hour
	overlap        = 30 * 24 * time.Hour
	servingLife    = 90 * 24 * time.Hour
	renewBefore    = 30 * 24 * time.Hour
	// skew is how far the clocks of a cluster may be apart.
	skew = time.Hour
)

// Material is what the Secret holds, in PEM.
type Material struct {
	Bundle  []byte // ca.crt: every authority to trust, the one that signs first
	Key     []byte // ca.key: of the authority that signs
	NextKey []byte // next.key: of the one that is announced; empty for none
	Cert    []byte // tls.crt
	CertKey []byte // tls.key
}

// authority is a certificate that signs, with its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Renew returns the material to have now, for a server of these DNS names, and
// what was done to get there; nothing done means that have is fine. Material
// that cannot be read is an error and not replaced: sidecars trust it.
func Renew(have Material, names []string, now time.Time) (Material, []string, error) {
	if len(have.Bundle) == 0 && len(have.Key) == 0 {
		return fresh(names, now)
	}
	bundle, err := parseCertificates(have.Bundle)
	if err != nil {
		return Material{}, nil, fmt.Errorf("read the authorities (ca.crt): %w", err)
	}
	signer, err := pair(bundle, have.Key)
	if err != nil {
		return Material{}, nil, fmt.Errorf("read the signing authority (ca.key): %w", err)
	}
	m, did := have, []string(nil)
	if next, err := pair(bundle, have.NextKey); err == nil {
		if now.After(next.cert.NotBefore.Add(skew+overlap)) || !now.Before(signer.cert.NotAfter) {
			did = append(did, "the announced authority signs from now on")
			signer, m.Key, m.NextKey = next, have.NextKey, nil
		}
	} else if signer.cert.NotAfter.Sub(now) < announceBefore {
		next, err := newAuthority(now)
		if err != nil {
			return Material{}, nil, err
		}
		did = append(did, "announced the next authority")
		bundle = append(bundle, next.cert)
		if m.NextKey, err = encodeKey(next.key); err != nil {
			return Material{}, nil, err
		}
		if !now.Before(signer.cert.NotAfter) { // nobody was here for a year: there is nothing to overlap with
			signer, m.Key, m.NextKey = next, m.NextKey, nil
		}
	}
	m.Bundle = encodeBundle(bundle, signer.cert, now)
	if why := stale(m, signer.cert, names, now); why != "" {
		did = append(did, "issued a serving certificate: "+why)
		if m.Cert, m.CertKey, err = signer.issue(names, now); err != nil {
			return Material{}, nil, err
		}
	}
	if len(did) == 0 && !bytes.Equal(m.Bundle, have.Bundle) {
		did = append(did, "dropped an authority that has ended")
	}
	return m, did, nil
}

func fresh(names []string, now time.Time) (Material, []string, error) {
	ca, err := newAuthority(now)
	if err != nil {
		return Material{}, nil, err
	}
	m := Material{Bundle: encodeBundle([]*x509.Certificate{ca.cert}, ca.cert, now)}
	if m.Key, err = encodeKey(ca.key); err != nil {
		return Material{}, nil, err
	}
	if m.Cert, m.CertKey, err = ca.issue(names, now); err != nil {
		return Material{}, nil, err
	}
	return m, []string{"made an authority and a serving certificate"}, nil
}

// stale says why the serving certificate has to be replaced; "" when it has not.
func stale(m Material, signer *x509.Certificate, names []string, now time.Time) string {
	certs, err := parseCertificates(m.Cert)
	if err != nil {
		return "there was none"
	}
	cert := certs[0]
	if _, err := pair(certs, m.CertKey); err != nil {
		return "its key does not fit"
	}
	if cert.CheckSignatureFrom(signer) != nil {
		return "another authority signed it"
	}
	if cert.NotAfter.Sub(now) < renewBefore || now.Before(cert.NotBefore) {
		return "it ends on " + cert.NotAfter.UTC().Format(time.DateOnly)
	}
	if !slices.Equal(cert.DNSNames, names) {
		return "its names have changed"
	}
	return ""
}

func newAuthority(now time.Time) (authority, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"axlemesh.io"}, CommonName: "axle operator CA"},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	cert, key, err := create(template, nil)
	if err != nil {
		return authority{}, fmt.Errorf("make an authority: %w", err)
	}
	return authority{cert: cert, key: key}, nil
}

func (a authority) issue(names []string, now time.Time) (cert, key []byte, err error) {
	if len(names) == 0 {
		return nil, nil, errors.New("issue a serving certificate: no DNS name given")
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{"axlemesh.io"}, CommonName: "axle operator"},
		DNSNames:    names,
		NotBefore:   now.Add(-skew),
		NotAfter:    now.Add(servingLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	c, k, err := create(template, &a)
	if err != nil {
		return nil, nil, fmt.Errorf("issue a serving certificate for %v: %w", names, err)
	}
	if key, err = encodeKey(k); err != nil {
		return nil, nil, err
	}
	return encodeCertificate(c), key, nil
}

// create makes a key and signs a certificate for it; a nil signer means itself.
func create(template *x509.Certificate, signer *authority) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, fmt.Errorf("make a serial number: %w", err)
	}
	if signer == nil {
		signer = &authority{cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, &key.PublicKey, signer.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("read back what was signed: %w", err)
	}
	return cert, key, nil
}

const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "EC PRIVATE KEY"
)

func encodeCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: c.Raw})
}

func encodeKey(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

// encodeBundle writes the signer first, then the others that have not ended.
func encodeBundle(certs []*x509.Certificate, signer *x509.Certificate, now time.Time) []byte {
	out := encodeCertificate(signer)
	for _, c := range certs {
		if !c.Equal(signer) && now.Before(c.NotAfter) {
			out = append(out, encodeCertificate(c)...)
		}
	}
	return out
}

func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != pemCertificate {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out), err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return out, nil
}

// pair finds the certificate that the key belongs to.
func pair(certs []*x509.Certificate, keyPEM []byte) (authority, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return authority{}, errors.New("no key in it")
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return authority{}, fmt.Errorf("key: %w", err)
	}
	for _, c := range certs {
		if key.PublicKey.Equal(c.PublicKey) {
			return authority{cert: c, key: key}, nil
		}
	}
	return authority{}, errors.New("the key belongs to none of the certificates")
}
