package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/api/bootstrap"
	controlv1 "github.com/axlemesh/axle/api/control/v1"
	"github.com/axlemesh/axle/sidecar/backoff"
)

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
	return runWith(t, o, ca, kept, "")
}

// runWith runs a client that joins with a token file, unless that is "".
func runWith(t *testing.T, o *operator, ca []byte, kept map[string][]byte, tokenFile string) *sidecar {
	t.Helper()
	s := &sidecar{desired: make(chan *controlv1.Desired, 10), kept: &sync.Map{}, log: &strings.Builder{}, phase: controlv1.State_STARTING, result: make(chan error, 1)}
	var logMu sync.Mutex
	c, err := New(Config{
		Operator: bootstrap.Operator{Address: o.addr, ServerName: "operator.test", CA: string(ca)},
		Token:    "token", TokenFile: tokenFile, Node: bootstrap.Node{ID: "uid", Pod: "pay-1", Namespace: "shop", Container: "axle-g2", Version: "v2", Generation: 2},
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
		if err := <-s.result; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
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

func TestATokenFileIsReadAgain(t *testing.T) {
	ca := newAuthority(t)
	o := newOperator(t, ca.issue(t, "operator.test"))
	path := filepath.Join(t.TempDir(), "token")
	runWith(t, o, ca.pem, nil, path) // the kubelet has not written it yet
	eventually(t, "it tries", func() bool { _, r := o.seen(); return len(r) == 0 })
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	called := func(want string) {
		t.Helper()
		eventually(t, want, func() bool { calls, _ := o.seen(); return slices.Contains(calls, want) })
	}
	write("first\n")
	called("join  uid axle-g2 with first")
	called("connect bearer-1")
	write("second")
	o.mu.Lock()
	o.good, o.strict = map[string]bool{}, true // the operator's keys are new: it knows no bearer of before
	o.mu.Unlock()
	o.cutAll()
	called("join  uid axle-g2 with second")
	called("connect bearer-2")
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
