package handshake

import (
	"crypto/tls"
	"strings"
)

// choice picks one of several certificates for a client: of those that it can verify (crypto/tls knows: RFC 8446 section
// 4.2.3 and its like for older versions) the one that has the name it asks for, else one with a wildcard for it, else the first.
// Where it can verify none it is the best by name, so that the client is the one who says no.
func choice(all []tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		nameless := *hello
		nameless.ServerName = "" // the name is looked at here
		best, rank := 0, -1
		for i := range all {
			r := fit(&all[i], hello.ServerName)
			if nameless.SupportsCertificate(&all[i]) == nil {
				r += verifiable
			}
			if r > rank {
				best, rank = i, r
			}
		}
		return &all[best], nil
	}
}

// verifiable weighs more than any name.
const verifiable = 3

// fit is 2 for a certificate with the name, 1 for one with a wildcard for it, and 0 for others.
func fit(c *tls.Certificate, name string) int {
	best := 0
	for _, own := range c.Leaf.DNSNames {
		switch {
		case name == "":
		case strings.EqualFold(own, name):
			return 2
		case underWildcard(own, name):
			best = 1
		}
	}
	return best
}

// underWildcard says whether pattern is "*." and what follows the first label of name.
func underWildcard(pattern, name string) bool {
	parent, ok := strings.CutPrefix(pattern, "*.")
	label, rest, dotted := strings.Cut(name, ".")
	return ok && dotted && label != "" && strings.EqualFold(parent, rest)
}
