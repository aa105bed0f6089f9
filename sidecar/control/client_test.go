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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/axlemesh/axle/api/bootstrap"
	controlv1 "github.com/axlemesh/axle/api/control/v1"
	"github.com/axlemesh/axle/sidecar/backoff"
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
	issued   int
	good     map[string]bool
	renewIn  time.Duration
	calls    []string
	reports  []*controlv1.Report
	commands chan *controlv1.Command
	cut      chan struct{} // closed to end every open stream
}

func newOperator(t *testing.T, cert tls.Certificate) *operator {
	o := &operator{t: t, good: map[string]bool{}, renewIn: time.Hour, commands: make(chan *controlv1.Command, 10), addr: "127.0.0.1:0", cut: make(chan struct{})}
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
	if !strings.HasPrefix(b, "bearer-") {
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

// sidecar is a running client.
type sidecar struct {
	client  *Client
	desired chan *controlv1.Desired
	kept    *sync.Map
	log     *strings.Builder
	result  chan error

	mu    sync.Mutex
	phase controlv1.State_Phase
}

func (s *sidecar) report() (*controlv1.State, *controlv1.HandoverResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &controlv1.State{Phase: s.phase}, nil
}

func (s *sidecar) set(p controlv1.State_Phase) {
	s.mu.Lock()
	s.phase = p
	s.mu.Unlock()
	s.client.Notify()
}

func run(t *testing.T, o *operator, ca []byte, kept map[string][]byte) *sidecar {
	t.Helper()
	s := &sidecar{desired: make(chan *controlv1.Desired, 10), kept: &sync.Map{}, log: &strings.Builder{}, phase: controlv1.State_STARTING, result: make(chan error, 1)}
	var logMu sync.Mutex
	c, err := New(Config{
		Operator: bootstrap.Operator{Address: o.addr, ServerName: "operator.test", CA: string(ca)},
		Token:    "token", Node: bootstrap.Node{ID: "uid", Pod: "pay-1", Namespace: "shop", Container: "axle-g2", Version: "v2", Generation: 2},
		Build: "b", HandoverMin: 1, HandoverMax: 1, Kept: kept,
		Keep:    func(k string, b []byte) error { s.kept.Store(k, b); return nil },
		Report:  s.report,
		Desired: func(d *controlv1.Desired) { s.desired <- d },
		Retry:   backoff.Policy{First: 10 * time.Millisecond, Max: 50 * time.Millisecond}, Now: time.Now,
		Log: funcr.New(func(_, args string) { logMu.Lock(); defer logMu.Unlock(); fmt.Fprintln(s.log, args) }, funcr.Options{Verbosity: 1}),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.client = c
	ctx, cancel := context.WithCancel(context.Background())
	go func() { s.result <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-s.result
		_ = c.Close()
		logMu.Lock()
		defer logMu.Unlock()
		if strings.Contains(s.log.String(), "bearer-") || strings.Contains(s.log.String(), "token\"") {
			t.Errorf("a secret is in the log:\n%s", s.log)
		}
	})
	return s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func TestJoinReportAndDesired(t *testing.T) {
	ca := newAuthority(t)
	o := newOperator(t, ca.issue(t, "operator.test"))
	s := run(t, o, ca.pem, nil)
	o.commands <- &controlv1.Command{Desired: &controlv1.Desired{Generation: 2, Predecessor: 1, HandoverKey: []byte("k")}}
	if d := <-s.desired; d.GetGeneration() != 2 || string(d.GetHandoverKey()) != "k" {
		t.Errorf("desired %v", d)
	}
	eventually(t, "hello", func() bool { _, r := o.seen(); return len(r) == 1 })
	s.set(controlv1.State_SERVING)
	eventually(t, "the new phase is reported", func() bool {
		_, r := o.seen()
		return len(r) > 1 && r[len(r)-1].GetState().GetPhase() == controlv1.State_SERVING
	})
	calls, reports := o.seen()
	if diff := cmp.Diff([]string{"join token uid axle-g2", "connect bearer-1"}, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	h := reports[0].GetHello()
	if h.GetGeneration() != 2 || h.GetPod() != "pay-1" || h.GetVersion() != "v2" || h.GetHandoverMax() != 1 {
		t.Errorf("hello %v", h)
	}
	if reports[1].GetHello() != nil {
		t.Error("a later report carries hello, too")
	}
}

func TestReconnectJoinsOnlyOnce(t *testing.T) {
	ca := newAuthority(t)
	o := newOperator(t, ca.issue(t, "operator.test"))
	run(t, o, ca.pem, nil)
	for i := 1; i <= 2; i++ {
		eventually(t, "connected", func() bool { _, r := o.seen(); return len(r) == i })
		o.cutAll()
	}
	eventually(t, "connected a third time", func() bool { _, r := o.seen(); return len(r) == 3 })
	calls, reports := o.seen()
	if diff := cmp.Diff([]string{"join token uid axle-g2", "connect bearer-1", "connect bearer-1", "connect bearer-1"}, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if reports[2].GetHello() == nil {
		t.Error("the first report of a new stream has no hello")
	}
}

func TestOperatorRestartWithAnotherCertificate(t *testing.T) {
	old, fresh := newAuthority(t), newAuthority(t)
	o := newOperator(t, old.issue(t, "operator.test"))
	s := run(t, o, old.pem, nil)
	o.commands <- &controlv1.Command{TrustBundle: []byte("rubbish"), Desired: &controlv1.Desired{Generation: 7}}
	<-s.desired
	o.commands <- &controlv1.Command{TrustBundle: append(append([]byte(nil), old.pem...), fresh.pem...), Desired: &controlv1.Desired{Generation: 8}}
	<-s.desired
	_, before := o.seen()
	o.down()
	o.up(fresh.issue(t, "operator.test"))
	eventually(t, "connected to the new certificate", func() bool { _, r := o.seen(); return len(r) > len(before) })
	if _, ok := s.kept.Load(KeepTrust); !ok {
		t.Error("the bundle is not kept for a restart")
	}
}

func TestUntrustedOperatorsGetNothing(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	for name, cert := range map[string]tls.Certificate{"another authority": other.issue(t, "operator.test"), "another name": ca.issue(t, "evil.test")} {
		t.Run(name, func(t *testing.T) {
			o := newOperator(t, cert)
			run(t, o, ca.pem, nil)
			time.Sleep(200 * time.Millisecond)
			if calls, _ := o.seen(); len(calls) > 0 {
				t.Errorf("it was called: %v", calls)
			}
		})
	}
}

func TestRenewal(t *testing.T) {
	ca := newAuthority(t)
	o := newOperator(t, ca.issue(t, "operator.test"))
	o.renewIn = -time.Hour // due at once
	run(t, o, ca.pem, nil)
	eventually(t, "renewed in the stream", func() bool { calls, _ := o.seen(); return len(calls) == 3 })
	calls, _ := o.seen()
	slices.Sort(calls[1:]) // the stream and the renewal in it are calls of their own
	if diff := cmp.Diff([]string{"join token uid axle-g2", "connect bearer-1", "renew bearer-1"}, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	o.cutAll()
	eventually(t, "connected again", func() bool { calls, _ := o.seen(); return len(calls) == 4 })
	if calls, _ := o.seen(); calls[3] != "connect bearer-2" {
		t.Errorf("calls %v", calls)
	}
}

func TestARefusedBearerIsRenewed(t *testing.T) {
	ca := newAuthority(t)
	o := newOperator(t, ca.issue(t, "operator.test"))
	run(t, o, ca.pem, nil)
	eventually(t, "connected", func() bool { _, r := o.seen(); return len(r) == 1 })
	o.mu.Lock()
	delete(o.good, "bearer-1")
	o.mu.Unlock()
	o.cutAll()
	eventually(t, "connected with a fresh bearer", func() bool { calls, _ := o.seen(); return calls[len(calls)-1] == "connect bearer-2" })
}

func TestRestartWithAKeptCredential(t *testing.T) {
	ca := newAuthority(t)
	o := newOperator(t, ca.issue(t, "operator.test"))
	first := run(t, o, ca.pem, nil)
	eventually(t, "connected", func() bool { _, r := o.seen(); return len(r) == 1 })
	b, ok := first.kept.Load(KeepCredential)
	if !ok {
		t.Fatal("the credential is not kept")
	}
	run(t, o, ca.pem, map[string][]byte{KeepCredential: b.([]byte)})
	eventually(t, "connected again", func() bool { _, r := o.seen(); return len(r) == 2 })
	if calls, _ := o.seen(); calls[len(calls)-1] != "connect bearer-1" {
		t.Errorf("calls %v", calls)
	}
}

func TestFlush(t *testing.T) {
	ca := newAuthority(t)
	o := newOperator(t, ca.issue(t, "operator.test"))
	s := run(t, o, ca.pem, nil)
	eventually(t, "connected", func() bool { _, r := o.seen(); return len(r) == 1 })
	s.mu.Lock()
	s.phase = controlv1.State_LEFT
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.client.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if _, r := o.seen(); r[len(r)-1].GetState().GetPhase() != controlv1.State_LEFT {
		t.Errorf("the last report says %s", r[len(r)-1].GetState().GetPhase())
	}
	if err := <-s.result; err != nil {
		t.Errorf("Run = %v after Flush", err)
	}
	s.result <- nil
	o.down()
	lost := run(t, o, ca.pem, nil)
	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := lost.client.Flush(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Flush without an operator = %v", err)
	}
}
