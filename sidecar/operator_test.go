package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/axlemesh/axle/api/bootstrap"
	controlv1 "github.com/axlemesh/axle/api/control/v1"
	"github.com/axlemesh/axle/hack/testport"
	"github.com/axlemesh/axle/sidecar/xds"
)

// operator plays the control plane of one pod: a real ADS server, and the rules of the control channel.
type operator struct {
	controlv1.UnimplementedControlServer
	t    *testing.T
	addr string
	ca   string
	cert tls.Certificate
	grpc *grpc.Server
	mux  *cache.MuxCache

	mu      sync.Mutex
	desired *controlv1.Desired
	keys    map[int64][]byte // overrides the key for one generation
	changed chan struct{}    // closed and replaced at each change
	last    map[int64]*controlv1.Report
	joined  map[string]bool
	joins   int // with a projected token
}

// projectedToken is the service account token of the pods with slots.
const projectedToken = "projected"

func newOperator(t *testing.T) *operator {
	o := &operator{t: t, changed: make(chan struct{}), last: map[int64]*controlv1.Report{}, joined: map[string]bool{}, keys: map[int64][]byte{}, addr: fmt.Sprintf("127.0.0.1:%d", testport.Free(t))}
	o.certify()
	o.mux = &cache.MuxCache{Caches: map[string]cache.Cache{}, ClassifyDelta: func(r *cache.DeltaRequest) string { return r.GetTypeUrl() }}
	for _, typ := range append(slices.Clone(xds.Types), xds.TypeSecret) {
		o.mux.Caches[typ] = cache.NewLinearCache(typ)
	}
	o.up()
	t.Cleanup(func() { o.grpc.Stop() })
	return o
}

func (o *operator) certify() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		o.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "operator.test"}, DNSNames: []string{"operator.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		o.t.Fatal(err)
	}
	o.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	o.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (o *operator) up() {
	l, err := net.Listen("tcp", o.addr)
	if err != nil {
		o.t.Fatal(err)
	}
	o.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	o.grpc = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{o.cert}, NextProtos: []string{"h2"}})),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			if md, _ := metadata.FromIncomingContext(ss.Context()); len(md.Get("authorization")) != 1 {
				return status.Error(codes.Unauthenticated, "no bearer")
			}
			return h(srv, ss)
		}))
	controlv1.RegisterControlServer(o.grpc, o)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(o.grpc, serverv3.NewServer(ctx, o.mux, nil))
	go func(g *grpc.Server) { defer cancel(); _ = g.Serve(l) }(o.grpc)
}

func (o *operator) Join(_ context.Context, r *controlv1.JoinRequest) (*controlv1.Credential, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.GetServiceAccountToken() == projectedToken {
		o.joins++
		return &controlv1.Credential{Bearer: "b", Expires: time.Now().Add(time.Hour).Unix(), RenewAfter: time.Now().Add(time.Hour).Unix()}, nil
	}
	if o.joined[r.GetToken()] || r.GetToken() != "token of "+r.GetContainer() {
		return nil, status.Error(codes.PermissionDenied, "the token is not good")
	}
	o.joined[r.GetToken()] = true
	return &controlv1.Credential{Bearer: "b", Expires: time.Now().Add(time.Hour).Unix(), RenewAfter: time.Now().Add(time.Hour).Unix()}, nil
}

func (o *operator) Connect(s grpc.BidiStreamingServer[controlv1.Report, controlv1.Command]) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	generation := first.GetHello().GetGeneration()
	o.note(generation, first)
	done := make(chan error, 1)
	go func() {
		for {
			r, err := s.Recv()
			if err != nil {
				done <- err
				return
			}
			o.note(generation, r)
		}
	}()
	for {
		o.mu.Lock()
		d, changed := o.desired, o.changed
		if key := o.keys[generation]; key != nil && d != nil {
			d = &controlv1.Desired{Generation: d.GetGeneration(), Predecessor: d.GetPredecessor(), Begin: d.GetBegin(), HandoverKey: key}
		}
		o.mu.Unlock()
		if d != nil {
			if err := s.Send(&controlv1.Command{Desired: d}); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case err := <-done:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func (o *operator) note(generation int64, r *controlv1.Report) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last[generation] = r
}

func (o *operator) want(d *controlv1.Desired) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.desired = d
	close(o.changed)
	o.changed = make(chan struct{})
}

// says waits for a generation's report.
func (o *operator) says(generation int64, what string, ok func(*controlv1.Report) bool) {
	o.t.Helper()
	eventually(o.t, fmt.Sprintf("generation %d reports %s", generation, what), func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		r := o.last[generation]
		return r != nil && ok(r)
	})
}

func (o *operator) phase(generation int64, p controlv1.State_Phase) {
	o.t.Helper()
	o.says(generation, p.String(), func(r *controlv1.Report) bool { return r.GetState().GetPhase() == p })
}

// listen sends the listener of an application on a port.
func (o *operator) listen(meshPort, appPort int) {
	o.t.Helper()
	tcp, err := anypb.New(&tcpv3.TcpProxy{StatPrefix: "in", ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: fmt.Sprintf("inbound/%d", appPort)}})
	if err != nil {
		o.t.Fatal(err)
	}
	o.listenWith(meshPort, tcp, nil)
}

// listenWith sends a listener of a filter, with a transport socket if that is not nil.
func (o *operator) listenWith(meshPort int, tcp *anypb.Any, socket *corev3.TransportSocket) {
	o.t.Helper()
	l := inboundListener(meshPort, xds.FilterTCP, tcp)
	l.FilterChains[0].TransportSocket = socket
	o.offer(l)
}

// offer sends a listener.
func (o *operator) offer(l *listenerv3.Listener) {
	o.t.Helper()
	if err := o.mux.Caches[xds.TypeListener].(*cache.LinearCache).UpdateResource(l.GetName(), l); err != nil {
		o.t.Fatal(err)
	}
}

func inboundListener(meshPort int, filter string, cfg *anypb.Any) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name: fmt.Sprintf("inbound/%d", meshPort), TrafficDirection: corev3.TrafficDirection_INBOUND,
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(meshPort)},
		}}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: filter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: cfg},
		}}}},
	}
}

// pod is where the generations of one sidecar run.
type pod struct {
	*operator
	app                  *echo
	port, admin, meshAPI int
}

func newPod(t *testing.T) *pod {
	p := &pod{operator: newOperator(t), app: newEcho(t), port: testport.Free(t), admin: testport.Free(t), meshAPI: testport.Free(t)}
	p.listen(p.port, p.app.port)
	return p
}

// inject starts the container of one generation.
func (p *pod) inject(generation int64) *process {
	p.t.Helper()
	container := fmt.Sprintf("axle-g%d", generation)
	b, err := json.Marshal(bootstrap.Bootstrap{
		Node:     bootstrap.Node{ID: "uid", Namespace: "shop", Pod: "pay-1", Container: container, Version: "v1", Generation: generation, InPlace: true},
		Operator: &bootstrap.Operator{Address: p.addr, ServerName: "operator.test", CA: p.ca},
		Admin:    fmt.Sprintf("127.0.0.1:%d", p.admin), MeshAPI: fmt.Sprintf("127.0.0.1:%d", p.meshAPI),
		Handover:                bootstrap.Handover{Socket: fmt.Sprintf("@axle-test/%d", p.port)},
		TerminationGraceSeconds: 10,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return launch(p.t, container, []string{bootstrap.Env + "=" + string(b), bootstrap.JoinTokenEnv + "=token of " + container}, "supervise")
}

// serve brings generation 1 up.
func (p *pod) serve() *process {
	p.t.Helper()
	g1 := p.inject(1)
	p.says(1, "hello", func(r *controlv1.Report) bool { return r != nil })
	p.want(&controlv1.Desired{Generation: 1})
	p.phase(1, controlv1.State_SERVING)
	return g1
}

// opens waits until a generation has opened its port: it serves as soon as it may, and the configuration comes when it comes.
func (p *pod) opens(generation int64) {
	p.t.Helper()
	p.says(generation, "its port", func(r *controlv1.Report) bool {
		return slices.Equal(r.GetState().GetListening(), []int32{int32(p.port)})
	})
}
