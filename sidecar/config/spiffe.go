package config

import (
	"fmt"
	"strings"
)

// Bounds of a SPIFFE ID (SPIFFE-ID sections 2.1 and 2.3).
const (
	maxSPIFFE      = 2048
	maxTrustDomain = 255
)

const spiffeScheme = "spiffe://"

// isSPIFFE says whether id is meant to be a SPIFFE ID, in whatever case its scheme is written.
func isSPIFFE(id string) bool {
	return len(id) >= len(spiffeScheme) && strings.EqualFold(id[:len(spiffeScheme)], spiffeScheme)
}

// CheckSPIFFE says what keeps id from being a SPIFFE ID (https://github.com/spiffe/spiffe, standards/SPIFFE-ID.md, section 2).
func CheckSPIFFE(id string) error { return checkSPIFFE(id, false) }

// checkSPIFFE checks a SPIFFE ID, or what one may begin with: its last segment may lack something then.
func checkSPIFFE(id string, prefix bool) error {
	rest, ok := strings.CutPrefix(id, spiffeScheme)
	if !ok || len(id) > maxSPIFFE {
		return fmt.Errorf("%.100q is no SPIFFE ID: it begins with %s and has at most %d bytes", id, spiffeScheme, maxSPIFFE)
	}
	domain, path, _ := strings.Cut(rest, "/")
	if domain == "" || len(domain) > maxTrustDomain || !only(domain, "abcdefghijklmnopqrstuvwxyz0123456789.-_") {
		return fmt.Errorf("%.100q is no SPIFFE ID: its trust domain has 1 to %d of a-z, 0-9, '.', '-' and '_'", id, maxTrustDomain)
	}
	if len(rest) == len(domain) {
		return nil
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if prefix && i == len(segments)-1 && only(s, spiffePath) {
			continue
		}
		if s == "" || s == "." || s == ".." || !only(s, spiffePath) {
			return fmt.Errorf("%.100q is no SPIFFE ID: segment %q of its path; one has letters, digits, '.', '-' and '_', and is not '.' or '..'", id, s)
		}
	}
	return nil
}

const spiffePath = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

func only(s, chars string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune(chars, r) }) < 0
}
