package config

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

// FuzzCheckSPIFFE: what is accepted is a URI that other readers take for the same, with nothing in it that has to be resolved.
func FuzzCheckSPIFFE(f *testing.F) {
	for _, s := range []string{"spiffe://m", "spiffe://m/ns/shop/sa/web", "spiffe://m/", "spiffe://m/a/../b", "spiffe://M/a", "spiffe://m:80/a", "spiffe://a@m/b?c#d", "SPIFFE://m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if CheckSPIFFE(id) != nil {
			return
		}
		u, err := url.Parse(id)
		if err != nil || u.String() != id || u.Scheme != "spiffe" || u.Host == "" || u.Port() != "" || u.User != nil || u.RawQuery+u.Fragment != "" {
			t.Errorf("%q is accepted, and is %+v, %v", id, u, err)
		}
		if u.Path != "" && path.Clean(u.Path) != u.Path || u.EscapedPath() != u.Path {
			t.Errorf("%q is accepted with the path %q", id, u.Path)
		}
		if !isSPIFFE(id) || checkSPIFFE(id, true) != nil {
			t.Errorf("%q is no beginning of one", id)
		}
		if at := strings.LastIndexByte(id, '/'); at > len(spiffeScheme) && checkSPIFFE(id[:at+1], true) != nil {
			t.Errorf("%q is no beginning of %q", id[:at+1], id)
		}
	})
}
