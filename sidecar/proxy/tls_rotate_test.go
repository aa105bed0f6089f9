package proxy_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// sent is what the control plane would send in place of files.
func sent(t *testing.T, secret string, files ...string) config.PEM {
	t.Helper()
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return config.PEM{Secret: secret, Sent: config.Hide(all)}
}

// sentPair issues a certificate as a secret.
func sentPair(a *authority, name, id string) []config.Certificate {
	cert, key := a.issue(name, id)
	return []config.Certificate{{Chain: sent(a.t.(*testing.T), name, cert), Key: sent(a.t.(*testing.T), name, key)}}
}

// load asks with every client until stop is closed.
func load(clients []*client, stop chan struct{}) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if c.waiting() < 8 && c.ask([]byte(fmt.Sprintf("%d-%0*d", i, 1+n%500, n))) != nil {
					return // settle will tell
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	return &wg
}

// TestRotationUnderLoad goes from one authority to another with an overlap, as a control plane would: first everybody trusts both,
// then the certificates change, then the old one is gone. A hop is in the middle. Nobody but the peers of the old authority
// notices.
func TestRotationUnderLoad(t *testing.T) {
	old, next := newAuthority(t), newAuthority(t)
	both := x509.NewCertPool()
	both.AddCert(old.cert)
	both.AddCert(next.cert)
	endpoint := next.server(0)
	endpoint.ClientCAs = both
	up := secureServer(t, endpoint, nil)
	addr := freePort(t)
	stage := func(pair *authority, trust ...string) *config.Snapshot {
		s := snapshot(addr, up)
		s.Listeners[0].TLS = &config.TLS{Certificates: sentPair(pair, "in.test", "spiffe://mesh.test/ns/shop/sa/in"), Trust: sent(t, "trust", trust...), Peers: []string{"spiffe://mesh.test/ns/shop/*"}}
		s.Clusters["echo"].TLS = &config.TLS{Certificates: sentPair(pair, "out.test", "spiffe://mesh.test/ns/shop/sa/out"), Trust: sent(t, "trust", next.file), Name: "server.test", Peers: []string{serverID}}
		return s
	}
	dial := func(own, of *authority) *client {
		cfg := own.client(0)
		cfg.RootCAs = of.pool
		return secureDial(t, addr, cfg)
	}
	now := begun(t, 2, stage(old, old.file))
	early := []*client{dial(old, old), dial(old, old), dial(old, old)}
	stop := make(chan struct{})
	wg := load(early, stop)
	apply := func(s *config.Snapshot) {
		time.Sleep(50 * time.Millisecond)
		if err := now.Apply(s); err != nil {
			t.Fatal(err)
		}
	}
	apply(stage(old, old.file, next.file))
	late := []*client{dial(next, old), dial(next, old)}
	stopLate := make(chan struct{})
	wgLate := load(late, stopLate)
	apply(stage(next, old.file, next.file))
	late2 := []*client{dial(next, next)}
	wgLate2 := load(late2, stopLate)
	time.Sleep(50 * time.Millisecond)
	now = hop(t, now, 2, stage(next, old.file, next.file))
	time.Sleep(50 * time.Millisecond)
	close(stop)
	wg.Wait()
	for _, c := range early {
		c.settle(t)
	}
	if n := now.Stats().Distrusted; n > 0 {
		t.Errorf("%d connections were closed in the overlap", n)
	}
	apply(stage(next, next.file))
	until(t, "the old authority's clients are gone", func() bool { return now.Stats().Distrusted == uint64(len(early)) })
	for _, c := range early {
		<-c.done
		if !strings.Contains(fmt.Sprint(c.err), "bad certificate") {
			t.Errorf("%v, want an alert", c.err)
		}
	}
	time.Sleep(50 * time.Millisecond)
	close(stopLate)
	wgLate.Wait()
	wgLate2.Wait()
	total := 0
	for _, c := range append(late, late2...) {
		c.settle(t)
		total += c.got
	}
	t.Logf("%d requests of those that stay", total)
	if s := now.Stats(); s.Distrusted != uint64(len(early)) || s.HandshakesFailed > 0 || total == 0 {
		t.Errorf("%d distrusted, %d handshakes failed", s.Distrusted, s.HandshakesFailed)
	}
	now.Stop()
}

// TestTrustInFilesRotates takes a root out of a file: peers that have shown a certificate of it are let go.
func TestTrustInFilesRotates(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	up := serve(t, nil)
	addr := freePort(t)
	s := secure(snapshot(addr, up), a)
	s.Clusters["echo"].TLS = nil
	e := started(t, 1, s)
	c := secureDial(t, addr, a.client(0))
	if err := c.ask(nil); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
	time.Sleep(10 * time.Millisecond) // the files' times differ
	a.issue("in.test", "spiffe://mesh.test/ns/shop/sa/in")
	e.RefreshCertificates()
	if err := c.ask(nil); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
	time.Sleep(10 * time.Millisecond)
	a.save(a.file, "CERTIFICATE", other.cert.Raw)
	e.RefreshCertificates()
	until(t, "it is closed", func() bool { return e.Stats().Distrusted == 1 })
}

// TestAListenerThatWaits has no certificate yet, and lets the others go on.
func TestAListenerThatWaits(t *testing.T) {
	a := newAuthority(t)
	up := serve(t, nil)
	waiting := &config.TLS{Waiting: []string{`secret "in"`}}
	lax := *waiting
	lax.Permissive = true
	s := snapshot(freePort(t), up)
	plain := s.Listeners[0].Address
	strict, permissive, moved := s.Listeners[0], s.Listeners[0], s.Listeners[0]
	strict.Name, strict.Address, strict.TLS = "strict", freePort(t), waiting
	permissive.Name, permissive.Address, permissive.TLS = "permissive", freePort(t), &lax
	moved.Name, moved.Address, moved.TLS = "moved", freePort(t), waiting
	s.Listeners = append(s.Listeners, strict, permissive, moved)
	e := started(t, 1, s)
	asked(t, plain)
	asked(t, permissive.Address)
	refused := func(l config.Listener) bool {
		conn, err := net.Dial("tcp", l.Address.String())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}
	if !refused(strict) || !refused(moved) {
		t.Error("a listener without a certificate accepts")
	}
	if _, err := tls.Dial("tcp", permissive.Address.String(), a.client(0)); err == nil {
		t.Error("a handshake without a certificate")
	}
	silent, err := net.Dial("tcp", permissive.Address.String()) // from before the certificate
	if err != nil {
		t.Fatal(err)
	}
	until(t, "it is accepted", func() bool { return e.Stats().Downstream[config.Outbound] >= 1 })
	warm := *s
	warm.Listeners = slices.Clone(s.Listeners)
	for i := range warm.Listeners[1:] {
		l := &warm.Listeners[1+i]
		l.TLS = &config.TLS{Permissive: l.TLS.Permissive, Certificates: sentPair(a, "in.test", "")}
	}
	if err := e.Apply(&warm); err != nil {
		t.Fatal(err)
	}
	for _, l := range warm.Listeners[1:] {
		c := secureDial(t, l.Address, a.client(0))
		if err := c.ask(nil); err != nil {
			t.Fatal(err)
		}
		c.settle(t)
	}
	conn := tls.Client(silent, a.client(0))
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := conn.Handshake(); err != nil {
		t.Errorf("a client that was silent until the certificate came: %v", err)
	}
	_ = conn.Close()
	if err := e.Apply(s); err != nil { // as a control plane may that changes its mind: the sockets stay
		t.Fatal(err)
	}
	if refused(strict) {
		t.Error("a socket that was open is closed")
	}
}

// TestAClusterThatWaits fails requests, and is not spoken to in plain.
func TestAClusterThatWaits(t *testing.T) {
	up := serve(t, nil)
	addr := freePort(t)
	s := snapshot(addr, up)
	s.Clusters["echo"].TLS = &config.TLS{Waiting: []string{`secret "trust"`}}
	e := started(t, 1, s)
	c := dial(t, addr)
	c.lenient = true
	if err := c.ask(nil); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
	if up.conns.Load() > 0 || e.Stats().Errors[config.Outbound] == 0 && len(e.Stats().Failed) == 0 {
		t.Errorf("%d connections, %+v", up.conns.Load(), e.Stats().Failed)
	}
}

// TestOpenSSLChoosesACertificate asks one listener for names and for kinds of keys.
func TestOpenSSLChoosesACertificate(t *testing.T) {
	found(t, "openssl")
	a := newAuthority(t)
	up := serve(t, nil)
	addr := freePort(t)
	s := snapshot(addr, up)
	rsaCert, rsaKey := a.issueRSA("in.test")
	firstCert, firstKey := a.issue("first.test", "")
	inCert, inKey := a.issue("in.test", "")
	s.Listeners[0].TLS = &config.TLS{Certificates: []config.Certificate{config.Pair(firstCert, firstKey), config.Pair(inCert, inKey), config.Pair(rsaCert, rsaKey)}}
	started(t, 1, s)
	cases := map[string]struct {
		args []string
		want string
	}{
		"its name":                        {[]string{"-servername", "in.test"}, "subject=CN = in.test"},
		"no name":                         {[]string{"-noservername"}, "subject=CN = first.test"},
		"another name":                    {[]string{"-servername", "nobody.test"}, "subject=CN = first.test"},
		"RSA only, TLS 1.3":               {[]string{"-servername", "in.test", "-sigalgs", "rsa_pss_rsae_sha256:rsa_pkcs1_sha256"}, "subject=CN = RSA in.test"},
		"RSA only, TLS 1.2":               {[]string{"-servername", "in.test", "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"}, "subject=CN = RSA in.test"},
		"RSA only, of another, TLS 1.2":   {[]string{"-servername", "first.test", "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"}, "subject=CN = RSA in.test"},
		"ECDSA only, of its name TLS 1.2": {[]string{"-servername", "in.test", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"}, "subject=CN = in.test"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("openssl", append([]string{"s_client", "-connect", addr.String(), "-CAfile", a.file, "-verify_return_error"}, tc.args...)...)
			cmd.Stdin = bytes.NewReader(nil)
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), tc.want) {
				t.Errorf("%v, want %s in\n%s", err, tc.want, out)
			}
		})
	}
}
