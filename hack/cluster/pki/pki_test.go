package pki

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestWriteAll(t *testing.T) {
	dir := t.TempDir()
	subjects := Subjects("n1", []string{"n1", "10.0.0.1"}, []string{"10.0.0.1", "10.96.0.1"})
	if err := WriteAll(dir, subjects, now); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("the authority does not parse")
	}
	for _, s := range subjects {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, s.File+".crt"), filepath.Join(dir, s.File+".key"))
		if err != nil {
			t.Fatal(err)
		}
		usage := x509.ExtKeyUsageClientAuth
		for _, at := range []time.Time{now, now.Add(lifetime - time.Minute)} {
			options := x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}}
			if _, err := pair.Leaf.Verify(options); err != nil {
				t.Errorf("%s as a client at %s: %v", s.File, at, err)
			}
		}
		for _, host := range s.Hosts {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, DNSName: host}); err != nil {
				t.Errorf("%s as %s: %v", s.File, host, err)
			}
		}
		if len(s.Hosts) == 0 {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err == nil {
				t.Errorf("%s may act as a server", s.File)
			}
		}
		if pair.Leaf.Subject.CommonName != s.User {
			t.Errorf("%s is user %q, want %q", s.File, pair.Leaf.Subject.CommonName, s.User)
		}
	}
}

func TestWriteKubeconfig(t *testing.T) {
	dir := t.TempDir()
	if err := WriteAll(dir, []Subject{{File: "admin", User: "admin", Groups: []string{"system:masters"}}}, now); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kubeconfig")
	if err := WriteKubeconfig(path, "axle-x", "https://127.0.0.1:1", dir, "admin"); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://127.0.0.1:1" || len(config.CAData) == 0 || len(config.KeyData) == 0 {
		t.Errorf("config %v", config)
	}
	if err := WriteKubeconfig(path, "axle-x", "https://127.0.0.1:1", dir, "nobody"); err == nil {
		t.Error("no error for a subject without a certificate")
	}
}
