package handshake

import (
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/config"
)

// named makes a certificate with any names that is good for an hour from begin on.
func (i *issuer) named(begin time.Time, dns []string, uris []string, change func(*x509.Certificate)) *x509.Certificate {
	i.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: begin, NotAfter: begin.Add(time.Hour), DNSNames: dns, ExtKeyUsage: both}
	for _, u := range uris {
		parsed, err := url.Parse(u)
		if err != nil {
			i.t.Fatal(err)
		}
		template.URIs = append(template.URIs, parsed)
	}
	if change != nil {
		change(template)
	}
	return i.sign(template, i.cert, newKey(i.t))
}

// demanding is a listener's context that trusts i.
func (i *issuer) demanding(change func(*config.TLS)) *Context {
	i.t.Helper()
	_, cert, key := i.leaf("own.test", "", both...)
	block := &config.TLS{Certificates: []config.Certificate{config.Pair(cert, key)}, Trust: config.PEM{File: i.dir + "/ca.pem"}}
	change(block)
	c, err := Load(block, true)
	if err != nil {
		i.t.Fatal(err)
	}
	return c
}

func TestExpectedPeers(t *testing.T) {
	i := newIssuer(t)
	ca := func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }
	cases := map[string]struct {
		dns, uris []string
		change    func(*x509.Certificate)
		peer      string
		want      string
	}{
		"a URI":                       {uris: []string{"spiffe://m/a"}, peer: "spiffe://m/a"},
		"what a URI begins with":      {uris: []string{"spiffe://m/ns/shop"}, peer: "spiffe://m/ns/sh*"},
		"another trust domain":        {uris: []string{"spiffe://n/a"}, peer: "spiffe://m/*", want: `the peer is "spiffe://n/a", and "spiffe://m/*" is wanted`},
		"a wildcard of one label":     {dns: []string{"*.shop.test"}, peer: "web.shop.test"},
		"a wildcard of two labels":    {dns: []string{"*.test"}, peer: "web.shop.test", want: `the peer is "*.test"`},
		"a DNS name is no URI":        {dns: []string{"m"}, peer: "spiffe://m/*", want: `the peer is "m"`},
		"no name":                     {peer: "a.test", want: `the peer is nobody by name, and "a.test" is wanted`},
		"two URIs":                    {uris: []string{"spiffe://m/a", "spiffe://m/b"}, peer: "spiffe://m/b", want: "has 1 URI, this one has 2"},
		"two URIs that are no SPIFFE": {uris: []string{"https://m/a", "https://m/b"}, peer: "https://m/b"},
		"an authority's":              {uris: []string{"spiffe://m/a"}, change: ca, peer: "spiffe://m/a", want: "is not an authority's"},
		"out of its prefix":           {uris: []string{"spiffe://m/ns/shop/../pay"}, peer: "spiffe://m/ns/shop/*", want: `segment ".."`},
		"escaped":                     {uris: []string{"spiffe://m/ns/shop/%2e%2e"}, peer: "spiffe://m/ns/shop/*", want: "is no SPIFFE ID"},
		"a URN":                       {uris: []string{"urn:m:a"}, peer: "urn:m:a"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := i.demanding(func(b *config.TLS) { b.Peers = []string{tc.peer} })
			err := c.Verify([][]byte{i.named(time.Now().Add(-time.Minute), tc.dns, tc.uris, tc.change).Raw})
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%v, want %q", err, tc.want)
			}
			var stranger *StrangerError
			if err != nil && !errors.As(err, &stranger) {
				t.Errorf("%T, want a StrangerError", err)
			}
		})
	}
}

// TestExpiryEndsNoConnection checks a peer again whose certificate was good at its handshake.
func TestExpiryEndsNoConnection(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	c := i.demanding(func(*config.TLS) {})
	old := i.named(time.Now().Add(-2*time.Hour), []string{"a.test"}, nil, nil)
	if err := c.check(c.current.Load(), []*x509.Certificate{old}, false); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("in a handshake: %v, want that it has expired", err)
	}
	if err := c.Verify([][]byte{old.Raw}); err != nil {
		t.Errorf("of an open connection: %v", err)
	}
	foreign := other.named(time.Now().Add(-2*time.Hour), []string{"a.test"}, nil, nil)
	if err := c.Verify([][]byte{foreign.Raw}); err == nil {
		t.Error("an expired certificate of another authority is trusted")
	}
}

func TestOptionalAndMissing(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	optional := i.demanding(func(b *config.TLS) { b.Optional = true })
	if err := optional.Verify(nil); err != nil {
		t.Errorf("no certificate: %v", err)
	}
	if err := optional.Verify([][]byte{other.named(time.Now(), nil, nil, nil).Raw}); err == nil {
		t.Error("one of another authority is let in")
	}
	waiting, err := Load(&config.TLS{Permissive: true, Waiting: []string{`secret "a"`, `secret "b"`}}, true)
	if err != nil {
		t.Fatal(err)
	}
	want := `the control plane has not sent secret "a", secret "b" yet`
	if _, err := waiting.Config().GetCertificate(nil); err == nil || err.Error() != want || waiting.Missing().Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	if err := waiting.Verify(nil); err != nil || optional.Missing() != nil {
		t.Errorf("nobody knows yet who is trusted, and a connection is closed: %v; the other misses %v", err, optional.Missing())
	}
}

func TestRules(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	first := i.demanding(func(*config.TLS) {}).Rules()
	same := i.demanding(func(*config.TLS) {}).Rules() // with another certificate
	peers := i.demanding(func(b *config.TLS) { b.Peers = []string{"a.test"} }).Rules()
	trust := i.demanding(func(b *config.TLS) { b.Trust.File = other.dir + "/ca.pem" }).Rules()
	if diff := cmp.Diff([]bool{true, false, false}, []bool{same == first, peers == first, trust == first}); diff != "" {
		t.Errorf("the same rules (-want +got):\n%s", diff)
	}
}
