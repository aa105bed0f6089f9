package control

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	"github.com/axlemesh/axle/hack/testport"
)

// authority signs the operator's certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a *authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// operator is a fake of the operator's end, with the rules of the real one: a token is good once, a bearer until revoked.
type operator struct {
	controlv1.UnimplementedControlServer
	t    *testing.T
	addr string
	grpc *grpc.Server

	mu       sync.Mutex
	used     bool
	strict   bool // only good bearers are renewed
	issued   int
	good     map[string]bool
	renewIn  time.Duration
	calls    []string
	reports  []*controlv1.Report
	commands chan *controlv1.Command
	cut      chan struct{} // closed to end every open stream
}

func newOperator(t *testing.T, cert tls.Certificate) *operator {
	o := &operator{t: t, good: map[string]bool{}, renewIn: time.Hour, commands: make(chan *controlv1.Command, 10), addr: fmt.Sprintf("127.0.0.1:%d", testport.Free(t)), cut: make(chan struct{})}
	o.up(cert)
	t.Cleanup(o.down)
	return o
}

func (o *operator) up(cert tls.Certificate) {
	l, err := net.Listen("tcp", o.addr)
	if err != nil {
		o.t.Fatal(err)
	}
	o.addr = l.Addr().String()
	o.grpc = grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})))
	controlv1.RegisterControlServer(o.grpc, o)
	go func(g *grpc.Server) { _ = g.Serve(l) }(o.grpc)
}

func (o *operator) down() { o.grpc.Stop() }

func (o *operator) issue() *controlv1.Credential {
	o.issued++
	b := fmt.Sprintf("bearer-%d", o.issued)
	o.good[b] = true
	return &controlv1.Credential{Bearer: b, Expires: time.Now().Add(24 * time.Hour).Unix(), RenewAfter: time.Now().Add(o.renewIn).Unix()}
}

func (o *operator) Join(_ context.Context, r *controlv1.JoinRequest) (*controlv1.Credential, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, "join "+r.GetToken()+" "+r.GetPodUid()+" "+r.GetContainer())
	if token := r.GetServiceAccountToken(); token != "" {
		o.calls[len(o.calls)-1] += " with " + token
		return o.issue(), nil
	}
	if o.used {
		return nil, status.Error(codes.PermissionDenied, "the token was used")
	}
	o.used = true
	return o.issue(), nil
}

func bearer(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	return strings.TrimPrefix(strings.Join(md.Get("authorization"), ","), "Bearer ")
}

func (o *operator) Renew(ctx context.Context, _ *controlv1.RenewRequest) (*controlv1.Credential, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := bearer(ctx)
	o.calls = append(o.calls, "renew "+b)
	if !strings.HasPrefix(b, "bearer-") || o.strict && !o.good[b] {
		return nil, status.Error(codes.Unauthenticated, "no bearer")
	}
	o.renewIn = time.Hour
	return o.issue(), nil
}

func (o *operator) Connect(s grpc.BidiStreamingServer[controlv1.Report, controlv1.Command]) error {
	o.mu.Lock()
	b := bearer(s.Context())
	o.calls = append(o.calls, "connect "+b)
	ok, cut := o.good[b], o.cut
	o.mu.Unlock()
	if !ok {
		return status.Error(codes.Unauthenticated, "unknown bearer")
	}
	done := make(chan error, 1)
	go func() {
		for {
			r, err := s.Recv()
			if err != nil {
				done <- err
				return
			}
			o.mu.Lock()
			o.reports = append(o.reports, r)
			o.mu.Unlock()
		}
	}()
	for {
		select {
		case err := <-done:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-cut:
			return status.Error(codes.Unavailable, "cut")
		case cmd := <-o.commands:
			if err := s.Send(cmd); err != nil {
				return err
			}
		}
	}
}

// seen returns what the operator was called with, and its reports.
func (o *operator) seen() (calls []string, reports []*controlv1.Report) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.calls...), append([]*controlv1.Report(nil), o.reports...)
}

func (o *operator) cutAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.cut)
	o.cut = make(chan struct{})
}
