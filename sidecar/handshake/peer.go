package handshake

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/axlemesh/axle/sidecar/config"
)

// Verify checks the chain of a connection that is open, leaf first in DER, against what is trusted now. A certificate that
// was good when it was shown may have expired since.
func (c *Context) Verify(chain [][]byte) error {
	m := c.current.Load()
	if c.server && m.roots == nil || len(c.block.Waiting) > 0 {
		return nil
	}
	certs := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		var err error
		if certs[i], err = x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("read the peer's certificate %d: %w", i, err)
		}
	}
	return c.check(m, certs, true)
}

var errNoCertificate = errors.New("the peer has shown no certificate")

// StrangerError says that a peer's certificate is good, and not that of a peer which is expected.
type StrangerError struct {
	// Shown are the certificate's names, Wanted those of which it needed one.
	Shown, Wanted []string
	// Why is set when the certificate has such a name and nevertheless must not be taken for it.
	Why error
}

func (e *StrangerError) Error() string {
	s := fmt.Sprintf("the peer is %s, and %s is wanted", listing(e.Shown, " and "), listing(e.Wanted, " or "))
	if e.Why != nil {
		s += ": " + e.Why.Error()
	}
	return s
}

// maxListed names are written out, each up to maxShown bytes.
const (
	maxListed = 5
	maxShown  = 256
)

func listing(names []string, between string) string {
	if len(names) == 0 {
		return "nobody by name"
	}
	var all []string
	for i, n := range names {
		if i == maxListed {
			all = append(all, fmt.Sprintf("%d others", len(names)-i))
			break
		}
		all = append(all, fmt.Sprintf("%.*q", maxShown, n))
	}
	return strings.Join(all, between)
}

// check wants a chain to a trusted root, for the peer's side of the connection, and a name that is expected. past says that
// the handshake was earlier.
func (c *Context) check(m *material, chain []*x509.Certificate, past bool) error {
	if len(chain) == 0 && c.block.Optional {
		return nil
	}
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
	_, err := leaf.Verify(o)
	if err != nil && past {
		err = verifyEarlier(chain, o)
	}
	if err != nil {
		return fmt.Errorf("verify the certificate of %s: %w", listing(names(leaf), " and "), err)
	}
	return c.expected(leaf)
}

// verifyEarlier looks at the last moments at which the leaf, and all of what was shown, were good.
func verifyEarlier(chain []*x509.Certificate, o x509.VerifyOptions) error {
	end := chain[0].NotAfter
	for _, cert := range chain[1:] {
		if cert.NotAfter.Before(end) {
			end = cert.NotAfter
		}
	}
	o.CurrentTime = chain[0].NotAfter
	_, err := chain[0].Verify(o)
	if err != nil && !end.Equal(o.CurrentTime) {
		o.CurrentTime = end
		_, err = chain[0].Verify(o)
	}
	return err
}

// names are those that a list of peers may have: URIs, such as SPIFFE IDs, and DNS names.
func names(leaf *x509.Certificate) []string {
	var all []string
	for _, u := range leaf.URIs {
		all = append(all, u.String())
	}
	return append(all, leaf.DNSNames...)
}

// expected wants a name of leaf to be in the list of peers, if there is one.
func (c *Context) expected(leaf *x509.Certificate) error {
	if len(c.block.Peers) == 0 {
		return nil
	}
	var why error
	for _, p := range c.block.Peers {
		if !has(leaf, p) {
			continue
		}
		if why = spiffe(leaf, p); why == nil {
			return nil
		}
	}
	return &StrangerError{Shown: names(leaf), Wanted: c.block.Peers, Why: why}
}

// has says whether leaf has the name p. A p that ends with * is every URI that begins with what is before the star; a DNS
// name may be in leaf by a wildcard for its first label.
func has(leaf *x509.Certificate, p string) bool {
	if prefix, open := strings.CutSuffix(p, "*"); strings.Contains(p, ":") {
		for _, u := range leaf.URIs {
			if uri := u.String(); uri == p || open && strings.HasPrefix(uri, prefix) {
				return true
			}
		}
		return false
	}
	for _, name := range leaf.DNSNames {
		if strings.EqualFold(name, p) || underWildcard(name, p) {
			return true
		}
	}
	return false
}

// spiffe holds a leaf whose name is a SPIFFE ID against what SPIFFE asks of one (X509-SVID.md, sections 2 and 4.1): one URI,
// which is well formed, and no authority's certificate.
func spiffe(leaf *x509.Certificate, p string) error {
	switch {
	case !strings.HasPrefix(p, "spiffe://"):
		return nil
	case len(leaf.URIs) != 1:
		return fmt.Errorf("a SPIFFE certificate has 1 URI, this one has %d", len(leaf.URIs))
	case leaf.IsCA:
		return errors.New("a SPIFFE certificate is not an authority's, and this one is")
	}
	return config.CheckSPIFFE(leaf.URIs[0].String())
}
