// Package pki makes the certificates and kubeconfigs of a throw-away cluster.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime of everything made here. A cluster lives for hours, sometimes weeks.
const lifetime = 2 * 365 * 24 * time.Hour

// Subject says whom a certificate is for.
type Subject struct {
	File   string   // name of the files, without .crt and .key
	User   string   // common name: the user that Kubernetes sees
	Groups []string // organizations: the groups that Kubernetes sees
	Hosts  []string // addresses and names it serves; empty: a client's certificate only
}

// Subjects lists the certificates of a cluster with one node. apiHosts are the
// addresses under which the apiserver is reached.
func Subjects(node string, nodeHosts, apiHosts []string) []Subject {
	return []Subject{
		{File: "apiserver", User: "kube-apiserver", Hosts: append([]string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
			"localhost", "127.0.0.1",
		}, apiHosts...)},
		{File: "apiserver-kubelet-client", User: "kube-apiserver", Groups: []string{"system:masters"}},
		{File: "admin", User: "admin", Groups: []string{"system:masters"}},
		{File: "kube-controller-manager", User: "system:kube-controller-manager"},
		{File: "kube-scheduler", User: "system:kube-scheduler"},
		{File: "kube-proxy", User: "system:kube-proxy"},
		{File: "coredns", User: "system:coredns"},
		{File: "kubelet", User: "system:node:" + node, Groups: []string{"system:nodes"}, Hosts: nodeHosts},
	}
}

// Authority is a certificate authority that signs in memory.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair is a certificate and its key, PEM encoded.
type Pair struct{ Cert, Key []byte }

// NewAuthority makes a self-signed authority that is valid from an hour before now.
func NewAuthority(name string, now time.Time) (*Authority, Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, Pair{}, fmt.Errorf("make the key of authority %q: %w", name, err)
	}
	template, err := newTemplate(name, nil, now)
	if err != nil {
		return nil, Pair{}, err
	}
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, Pair{}, fmt.Errorf("sign authority %q: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, Pair{}, fmt.Errorf("parse authority %q: %w", name, err)
	}
	pair, err := encode(der, key)
	return &Authority{cert: cert, key: key}, pair, err
}

// Issue signs a certificate for a client, and for a server if the subject has hosts.
func (a *Authority) Issue(s Subject, now time.Time) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make the key of %q: %w", s.User, err)
	}
	template, err := newTemplate(s.User, s.Groups, now)
	if err != nil {
		return Pair{}, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, host := range s.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if len(s.Hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign the certificate of %q: %w", s.User, err)
	}
	return encode(der, key)
}

// WriteAll makes an authority (ca), the service account key (sa) and a pair for
// every subject in dir.
func WriteAll(dir string, subjects []Subject, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of certificates: %w", err)
	}
	ca, pair, err := NewAuthority("axle-cluster", now)
	if err != nil {
		return err
	}
	if err := pair.write(dir, "ca"); err != nil {
		return err
	}
	// The service account key is only ever used as a bare key; its certificate
	// is a convenient way to store the public half.
	for _, s := range append([]Subject{{File: "sa", User: "service-accounts"}}, subjects...) {
		pair, err := ca.Issue(s, now)
		if err != nil {
			return err
		}
		if err := pair.write(dir, s.File); err != nil {
			return err
		}
	}
	return nil
}

func (p Pair) write(dir, name string) error {
	err := errors.Join(
		os.WriteFile(filepath.Join(dir, name+".crt"), p.Cert, 0o644),
		os.WriteFile(filepath.Join(dir, name+".key"), p.Key, 0o600))
	if err != nil {
		return fmt.Errorf("write the certificate %s: %w", name, err)
	}
	return nil
}

func newTemplate(name string, groups []string, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("pick a serial number for %q: %w", name, err)
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: groups},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(lifetime),
		BasicConstraintsValid: true,
	}, nil
}

func encode(der []byte, key *ecdsa.PrivateKey) (Pair, error) {
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode a key: %w", err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}),
	}, nil
}
