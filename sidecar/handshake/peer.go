package handshake

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// Verify checks a peer's chain, leaf first in DER, against what is trusted now.
func (c *Context) Verify(chain [][]byte) error {
	m := c.current.Load()
	if c.server && m.roots == nil {
		return nil
	}
	certs := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		var err error
		if certs[i], err = x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("read the peer's certificate %d: %w", i, err)
		}
	}
	return c.check(m, certs)
}

var errNoCertificate = errors.New("the peer has shown no certificate")

// check wants a chain to a trusted root, for the peer's side of the connection, and a name that is expected.
func (c *Context) check(m *material, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errNoCertificate
	}
	o := x509.VerifyOptions{Roots: m.roots, Intermediates: x509.NewCertPool()}
	o.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if c.server {
		o.KeyUsages[0] = x509.ExtKeyUsageClientAuth
	}
	for _, cert := range chain[1:] {
		o.Intermediates.AddCert(cert)
	}
	if len(c.block.Peers) == 0 && !c.server {
		o.DNSName = c.block.Name
	}
	leaf := chain[0]
	if _, err := leaf.Verify(o); err != nil {
		return fmt.Errorf("verify the peer's certificate: %w", err)
	}
	if len(c.block.Peers) > 0 && !listed(c.block.Peers, leaf) {
		return fmt.Errorf("the peer's certificate is for %s, which is not in the list of peers", strings.Join(names(leaf), ", "))
	}
	return nil
}

// names are those that a list of peers may have: URIs, such as SPIFFE IDs, and DNS names.
func names(leaf *x509.Certificate) []string {
	var all []string
	for _, u := range leaf.URIs {
		all = append(all, u.String())
	}
	return append(all, leaf.DNSNames...)
}

// listed says whether a name of leaf is in peers. An entry that ends with /* takes every URI that begins with what is
// before the star.
func listed(peers []string, leaf *x509.Certificate) bool {
	for _, p := range peers {
		for _, u := range leaf.URIs {
			uri := u.String()
			if prefix, open := strings.CutSuffix(p, "*"); uri == p || open && strings.HasPrefix(uri, prefix) {
				return true
			}
		}
		for _, name := range leaf.DNSNames {
			if strings.EqualFold(name, p) {
				return true
			}
		}
	}
	return false
}
