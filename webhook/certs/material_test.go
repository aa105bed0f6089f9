package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const day = 24 * time.Hour

var (
	t0    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	names = []string{"axle-operator.axle-system.svc", "axle-operator.axle-system.svc.cluster.local"}
)

// verify is what a client that trusts bundle makes of the certificate in m.
func verify(t *testing.T, bundle []byte, m Material, now time.Time) error {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bundle) {
		t.Fatal("no authority in the bundle")
	}
	pair, err := tls.X509KeyPair(m.Cert, m.CertKey)
	if err != nil {
		t.Fatalf("certificate and key: %v", err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		DNSName: names[0], Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

func mustRenew(t *testing.T, have Material, now time.Time) (Material, []string) {
	t.Helper()
	m, did, err := Renew(have, names, now)
	if err != nil {
		t.Fatal(err)
	}
	return m, did
}

func TestRenew(t *testing.T) {
	first, _ := mustRenew(t, Material{}, t0)
	other, _ := mustRenew(t, Material{}, t0)
	cases := map[string]struct {
		have  Material
		names []string
		now   time.Time
		want  []string
	}{
		"nothing yet":              {Material{}, names, t0, []string{"made an authority and a serving certificate"}},
		"fresh":                    {first, names, t0, nil},
		"a clock that is behind":   {first, names, t0.Add(-skew / 2), nil},
		"before the renewal":       {first, names, t0.Add(59 * day), nil},
		"at the renewal":           {first, names, t0.Add(61 * day), []string{"issued a serving certificate: it ends on 2026-04-02"}},
		"another name":             {first, names[:1], t0, []string{"issued a serving certificate: its names have changed"}},
		"no serving certificate":   {Material{Bundle: first.Bundle, Key: first.Key}, names, t0, []string{"issued a serving certificate: there was none"}},
		"another serving key":      {with(first, first.Cert, other.CertKey), names, t0, []string{"issued a serving certificate: its key does not fit"}},
		"another authority's":      {with(first, other.Cert, other.CertKey), names, t0, []string{"issued a serving certificate: another authority signed it"}},
		"the authority grows old":  {first, names, t0.Add(4*365*day + day), []string{"announced the next authority", "issued a serving certificate: it ends on 2026-04-02"}},
		"nobody was here for ages": {first, names, t0.Add(6 * 365 * day), []string{"announced the next authority", "issued a serving certificate: another authority signed it"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, did, err := Renew(tc.have, tc.names, tc.now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, did); diff != "" {
				t.Errorf("done (-want +got):\n%s", diff)
			}
			if err := verify(t, got.Bundle, got, tc.now); err != nil {
				t.Errorf("a client refuses the certificate: %v", err)
			}
			if _, again, err := Renew(got, tc.names, tc.now); err != nil || len(again) > 0 {
				t.Errorf("a second look changed it again: %v, %v", again, err)
			}
		})
	}
}

func with(m Material, cert, key []byte) Material {
	m.Cert, m.CertKey = cert, key
	return m
}

// The rotation of the authority, day by day: a sidecar that learned of the
// bundle at most overlap ago never refuses the operator.
func TestRotationNeverLosesASidecar(t *testing.T) {
	type learned struct {
		when   time.Time
		bundle []byte
	}
	m, _ := mustRenew(t, Material{}, t0)
	var sidecars []learned
	authorities := map[string]bool{}
	for now := t0; now.Before(t0.Add(2 * authorityLife)); now = now.Add(day) {
		m, _ = mustRenew(t, m, now)
		authorities[string(m.Key)] = true
		sidecars = append(sidecars, learned{now, m.Bundle})
		if now.Sub(sidecars[0].when) > overlap {
			sidecars = sidecars[1:]
		}
		if s := sidecars[0]; verify(t, s.bundle, m, now) != nil {
			t.Fatalf("%s: a sidecar that last heard of us on %s refuses: %v", now, s.when, verify(t, s.bundle, m, now))
		}
	}
	if len(authorities) < 2 {
		t.Errorf("%d authority signed in ten years: nothing was rotated", len(authorities))
	}
}

func TestRenewKeepsWhatItCannotRead(t *testing.T) {
	good, _ := mustRenew(t, Material{}, t0)
	other, _ := mustRenew(t, Material{}, t0)
	cases := map[string]Material{
		"a bundle that is no PEM":  {Bundle: []byte("x"), Key: good.Key},
		"a key without its bundle": {Key: good.Key},
		"a bundle without its key": {Bundle: good.Bundle},
		"someone else's key":       {Bundle: good.Bundle, Key: other.Key},
		"a broken certificate":     {Bundle: bytes.Replace(good.Bundle, []byte("MII"), []byte("AII"), 1), Key: good.Key},
	}
	for name, have := range cases {
		t.Run(name, func(t *testing.T) {
			if _, did, err := Renew(have, names, t0); err == nil {
				t.Errorf("no error, but %v", did)
			}
		})
	}
}
