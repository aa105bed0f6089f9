package certs

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"
)

func TestACertificateIsGoodForItsHost(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, "echo.bench", time.Now()); err != nil {
		t.Fatal(err)
	}
	pool, err := Pool(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := In(dir)
	for chain, key := range map[string]string{f.Chain: f.Key, f.Both: f.Both} {
		pair, err := tls.LoadX509KeyPair(chain, key)
		if err != nil {
			t.Fatal(err)
		}
		for host, good := range map[string]bool{"echo.bench": true, "other.bench": false} {
			_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host})
			if (err == nil) != good {
				t.Errorf("%s for %s: %v", chain, host, err)
			}
		}
	}
	if _, err := Pool(t.TempDir()); err == nil {
		t.Error("no error without an authority")
	}
}
