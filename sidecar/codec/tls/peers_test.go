package record_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	record "github.com/axlemesh/axle/sidecar/codec/tls"
	"github.com/axlemesh/axle/sidecar/handshake"
)

// certificate makes a self-signed certificate for peer.test.
func certificate(t testing.TB, key crypto.Signer) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"peer.test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func ecdsaCertificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, key)
}

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func rsaCertificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, key)
}

// mode is one way for two sides to speak.
type mode struct {
	server  bool // our side
	version uint16
	suite   uint16 // of TLS 1.2
	rsa     bool
}

func modes() map[string]mode {
	all := map[string]mode{}
	for _, server := range []bool{false, true} {
		side := map[bool]string{false: " client", true: " server"}[server]
		all["TLS 1.3"+side] = mode{server: server, version: tls.VersionTLS13}
		for _, id := range record.Suites12() {
			rsa := id == tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 || id == tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 ||
				id == tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
			all[tls.CipherSuiteName(id)+side] = mode{server: server, version: tls.VersionTLS12, suite: id, rsa: rsa}
		}
	}
	return all
}

// line is one connection: our side, as a session over raw bytes, and crypto/tls on the other.
type line struct {
	t       testing.TB
	session *record.Session
	raw     net.Conn
	in      []byte // read and not opened
	peer    *tls.Conn
}

// owner carries a handshake's bytes.
type owner struct {
	raw  net.Conn
	done chan handshake.Result
}

func (o *owner) Send(b []byte)           { _, _ = o.raw.Write(b) }
func (o *owner) Done(r handshake.Result) { o.done <- r }

func connect(t testing.TB, m mode) *line {
	t.Helper()
	cert := ecdsaCertificate(t)
	if m.rsa {
		cert = rsaCertificate(t)
	}
	cfg := &tls.Config{
		MinVersion: m.version, MaxVersion: m.version, Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true,
		SessionTicketsDisabled: m.server, // a server's tickets are to be met, ours are never sent
	}
	if m.suite != 0 {
		cfg.CipherSuites = []uint16{m.suite}
	}
	ours, theirs := sockets(t)
	l := &line{t: t, raw: ours, peer: tls.Server(theirs, cfg)}
	if m.server {
		l.peer = tls.Client(theirs, cfg)
	}
	_ = l.peer.SetDeadline(time.Now().Add(20 * time.Second))
	shaken := make(chan error, 1)
	go func() { shaken <- l.peer.Handshake() }()
	l.handshake(cfg, m.server)
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	return l
}

// handshake does our side's, reading whatever comes, further than the handshake goes.
func (l *line) handshake(cfg *tls.Config, server bool) {
	o := &owner{raw: l.raw, done: make(chan handshake.Result, 1)}
	h := handshake.New(cfg, server, o)
	go h.Run()
	buf := make([]byte, 64<<10)
	for {
		_ = l.raw.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		n, err := l.raw.Read(buf)
		h.Feed(buf[:n])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			l.t.Fatal(err)
		}
		select {
		case r := <-o.done:
			if r.Err != nil {
				l.t.Fatal(r.Err)
			}
			_ = l.raw.SetReadDeadline(time.Now().Add(20 * time.Second))
			l.session, l.in = r.Session, h.Rest()
			return
		default:
		}
	}
}

func sockets(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a, b
}

// send seals b and writes it.
func (l *line) send(b []byte) {
	l.t.Helper()
	if _, err := l.raw.Write(l.session.Seal(nil, b)); err != nil {
		l.t.Fatal(err)
	}
}

// receive reads until n plain bytes are there, or the end of the stream.
func (l *line) receive(n int) (plain []byte, err error) {
	for len(plain) < n {
		got, size, err := l.session.Open(l.in)
		if l.in = l.in[size:]; err != nil {
			return plain, err
		}
		plain = append(plain, got...)
		if size > 0 {
			continue
		}
		buf := make([]byte, 32<<10)
		size, err = l.raw.Read(buf)
		if l.in = append(append([]byte(nil), l.in...), buf[:size]...); err != nil {
			return plain, err
		}
	}
	return plain, nil
}

// talk exchanges what and its answer in both directions.
func (l *line) talk(what []byte) {
	l.t.Helper()
	go func() { _, _ = l.peer.Write(what) }()
	got, err := l.receive(len(what))
	if err != nil || string(got) != string(what) {
		l.t.Fatalf("received %d bytes, %v; want %d", len(got), err, len(what))
	}
	go l.send(what)
	got = make([]byte, len(what))
	if _, err := io.ReadFull(l.peer, got); err != nil || string(got) != string(what) {
		l.t.Fatalf("the peer received %v and other bytes: %t", err, string(got) != string(what))
	}
}
