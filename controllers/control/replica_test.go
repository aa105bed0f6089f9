package control

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/identity"
	"github.com/axlemesh/axle/controllers/sidecars"
)

const wait = 10 * time.Second

// replica is one operator's control channel on loopback, over a store of pods that a test fills.
type replica struct {
	*Server
	t      *testing.T
	store  client.Client
	clock  *clocktesting.FakeClock
	client controlv1.ControlClient
}

func newReplica(t *testing.T, pods ...client.Object) *replica {
	t.Helper()
	store := fake.NewClientBuilder().WithObjects(pods...).Build()
	clk := clocktesting.NewFakeClock(time.Unix(1_800_000_000, 0))
	ring := identity.Fixed(identity.Keys{Current: bytes.Repeat([]byte{7}, identity.KeySize)})
	s := &Server{
		Pods: store, Live: store, Writer: store, Keys: ring, Clock: clk,
		Log: testr.New(t), Metrics: NewMetrics(prometheus.NewRegistry()),
		TrustBundle: func() []byte { return []byte("bundle") },
	}
	auth := &Authenticator{Keys: ring, Pods: store, Clock: clk}
	g := grpc.NewServer(grpc.UnaryInterceptor(auth.Unary), grpc.StreamInterceptor(auth.Stream))
	controlv1.RegisterControlServer(g, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served, wrote := make(chan error, 1), make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	go func() { wrote <- s.Start(ctx) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := <-wrote; err != nil {
			t.Errorf("status writer: %v", err)
		}
	})
	return &replica{Server: s, t: t, store: store, clock: clk, client: controlv1.NewControlClient(conn)}
}

func pod(ip string, generations ...int64) *corev1.Pod {
	p := &corev1.Pod{}
	p.Namespace, p.Name, p.UID = "payments", "pay-0", "uid-1"
	p.Status.PodIP = ip
	for _, g := range generations {
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers,
			corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: sidecars.Name(g)}})
	}
	return p
}

func who(g int64) identity.Sidecar {
	return identity.Sidecar{PodUID: "uid-1", Namespace: "payments", Pod: "pay-0", Container: sidecars.Name(g)}
}

func (r *replica) joinAs(s identity.Sidecar) (*controlv1.Credential, error) {
	token, err := r.Keys.Keys().SignJoin(s, r.clock.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	return r.client.Join(context.Background(), &controlv1.JoinRequest{Token: token, PodUid: s.PodUID, Container: s.Container})
}

func (r *replica) status() axlev1.PodStatus {
	p := &corev1.Pod{}
	if err := r.store.Get(context.Background(), client.ObjectKey{Namespace: "payments", Name: "pay-0"}, p); err != nil {
		r.t.Fatal(err)
	}
	st, err := axlev1.ParseStatus(p.Annotations)
	if err != nil {
		r.t.Fatal(err)
	}
	if st == nil {
		return axlev1.PodStatus{}
	}
	return *st
}

func (r *replica) eventually(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(wait); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	r.t.Fatalf("%s did not happen; status %+v", what, r.status())
}

func withBearer(ctx context.Context, bearer string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+bearer)
}

// connect opens a sidecar's stream; its hello says starting.
func (r *replica) connect(ctx context.Context, g int64, version string) controlv1.Control_ConnectClient {
	r.t.Helper()
	cred, err := r.joinAs(who(g))
	if err != nil {
		r.t.Fatal(err)
	}
	str, err := r.client.Connect(withBearer(ctx, cred.GetBearer()))
	if err != nil {
		r.t.Fatal(err)
	}
	hello := &controlv1.Hello{PodUid: "uid-1", Namespace: "payments", Pod: "pay-0", Container: sidecars.Name(g), Version: version, Generation: g}
	if err := str.Send(&controlv1.Report{Hello: hello, State: &controlv1.State{Phase: controlv1.State_STARTING}}); err != nil {
		r.t.Fatal(err)
	}
	return str
}

// reset makes the pod forget what it was.
func (r *replica) reset() {
	r.t.Helper()
	p := pod("127.0.0.1", 1)
	if err := r.store.Patch(context.Background(), p, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":null}}`))); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replica) want(d string) {
	r.t.Helper()
	ctx := context.Background()
	p := &corev1.Pod{}
	key := client.ObjectKey{Namespace: "payments", Name: "pay-0"}
	if err := r.store.Get(ctx, key, p); err != nil {
		r.t.Fatal(err)
	}
	base := p.DeepCopy()
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations[axlev1.DesiredAnnotation] = d
	if err := r.store.Patch(ctx, p, client.MergeFrom(base)); err != nil {
		r.t.Fatal(err)
	}
	r.PodChanged(p)
}
