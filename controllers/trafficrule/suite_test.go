package trafficrule_test

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/control"
	"github.com/axlemesh/axle/controllers/identity"
	"github.com/axlemesh/axle/controllers/trafficrule"
	"github.com/axlemesh/axle/controllers/xds"
)

const (
	operators = "axle-system"
	account   = "axle-operator"
)

var (
	restConfig *rest.Config
	scheme     = runtime.NewScheme()
	cluster    client.Client
	ring       *identity.Ring
)

func TestTrafficRules(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(30 * time.Second)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	RunSpecs(t, "trafficrule")
}

var _ = BeforeSuite(func(ctx context.Context) {
	Expect(os.Getenv("KUBEBUILDER_ASSETS")).NotTo(BeEmpty(),
		"KUBEBUILDER_ASSETS has to name a folder with kube-apiserver and etcd: run `make test`, or set it to what `go run ./hack/cluster assets` prints")
	log.SetLogger(logr.Discard())
	env := &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join("..", "..", "config", "crd", "bases")}, ErrorIfCRDPathMissing: true}
	var err error
	restConfig, err = env.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(env.Stop)
	restConfig.QPS, restConfig.Burst = 200, 400
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(axlev1.AddToScheme(scheme)).To(Succeed())
	cluster, err = client.New(restConfig, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	namespace(ctx, operators)
	ring = &identity.Ring{Client: cluster, Namespace: operators, Clock: clock.RealClock{}, Random: rand.Reader, Log: GinkgoLogr}
	Expect(ring.Load(ctx)).To(Succeed())
})

func namespace(ctx context.Context, name string) {
	GinkgoHelper()
	ns := &corev1.Namespace{}
	ns.Name = name
	Expect(cluster.Create(ctx, ns)).To(Succeed())
}

// replica is one replica of the operator: what main wires for TrafficRules, on loopback and without TLS.
type replica struct {
	name   string
	store  *xds.Store
	ads    discoveryv3.AggregatedDiscoveryServiceClient
	cancel context.CancelFunc
	ended  chan error
	served chan error
	grpc   *grpc.Server
}

// start runs a replica; its pod is in the cluster and ready while it does.
func start(name string, leads bool) *replica {
	GinkgoHelper()
	ctx, cancel := context.WithCancel(context.Background())
	pod := pod(operators, name, nil)
	pod.Spec.ServiceAccountName = account
	Expect(cluster.Create(ctx, pod)).To(Succeed())
	pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, "127.0.0.1"
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	Expect(cluster.Status().Update(ctx, pod)).To(Succeed())

	mgr, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme: scheme, Logger: logr.Discard(), Metrics: server.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	Expect(err).NotTo(HaveOccurred())
	recorder := mgr.GetEventRecorder("axle")
	r := &replica{name: name, store: xds.NewStore(logr.Discard()), cancel: cancel, ended: make(chan error, 1), served: make(chan error, 1)}
	source := &xds.Source{Client: mgr.GetClient(), Store: r.store}
	Expect(source.Setup(ctx, mgr)).To(Succeed())
	Expect((&trafficrule.Reporter{Client: mgr.GetClient(), Rules: r.store, Clock: clock.RealClock{}, Self: name}).Setup(mgr)).To(Succeed())
	if leads {
		leader := &trafficrule.Reconciler{
			Client: mgr.GetClient(), Rules: r.store, Clock: clock.RealClock{}, Events: recorder, Log: logr.Discard(), Self: name, Namespace: operators, Account: account,
		}
		Expect(leader.Setup(mgr)).To(Succeed())
	}
	go func() { r.ended <- mgr.Start(ctx) }()
	Expect(mgr.GetCache().WaitForCacheSync(ctx)).To(BeTrue())
	Expect(source.Prime(ctx)).To(Succeed())
	auth := &control.Authenticator{Keys: ring, Pods: mgr.GetClient(), Clock: clock.RealClock{}}
	r.grpc = grpc.NewServer(grpc.StreamInterceptor(auth.Stream))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(r.grpc,
		xds.NewServer(ctx, r.store, mgr.GetClient(), recorder, logr.Discard(), xds.NewMetrics(prometheus.NewRegistry())))
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	go func() { r.served <- r.grpc.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	Expect(err).NotTo(HaveOccurred())
	r.ads = discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	return r
}

// stop ends a replica, its pod included.
func (r *replica) stop() {
	GinkgoHelper()
	r.grpc.Stop()
	r.cancel()
	Eventually(r.served).Should(Receive(BeNil()))
	Eventually(r.ended).Should(Receive(BeNil()))
	Expect(cluster.Delete(context.Background(), pod(operators, r.name, nil), client.GracePeriodSeconds(0))).To(Succeed())
}

func pod(namespace, name string, labels map[string]string) *corev1.Pod {
	p := &corev1.Pod{}
	p.Namespace, p.Name, p.Labels = namespace, name, labels
	p.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/app:v1"}}
	return p
}

// sidecar is connected to a replica, and answers what it gets: with an ACK, or with what rejects says.
type sidecar struct {
	rejects func(name string) (why string)
	ended   chan struct{}
	cancel  context.CancelFunc
}

// connect makes a sidecar in a pod that exists.
func (r *replica) connect(ctx context.Context, at *corev1.Pod, rejects func(name string) string) *sidecar {
	GinkgoHelper()
	bearer, _, err := ring.Keys().SignBearer(identity.Sidecar{PodUID: string(at.UID), Namespace: at.Namespace, Pod: at.Name, Container: "axle-g1"}, time.Now())
	Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+bearer))
	s := &sidecar{rejects: rejects, ended: make(chan struct{}), cancel: cancel}
	str, err := r.ads.DeltaAggregatedResources(ctx)
	Expect(err).NotTo(HaveOccurred())
	for _, kind := range []string{resource.ClusterType, resource.VirtualHostType} {
		Expect(str.Send(&discoveryv3.DeltaDiscoveryRequest{
			Node: &corev3.Node{Id: string(at.UID)}, TypeUrl: kind, ResourceNamesSubscribe: []string{"*"},
		})).To(Succeed())
	}
	go func() { // ends with the stream
		defer close(s.ended)
		for {
			resp, err := str.Recv()
			if err != nil {
				return
			}
			answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()}
			for _, h := range resp.GetResources() {
				if why := s.rejects(h.GetName()); why != "" {
					answer.ErrorDetail = &rpcstatus.Status{Message: why}
				}
			}
			if str.Send(answer) != nil {
				return
			}
		}
	}()
	return s
}

func (s *sidecar) leave() {
	s.cancel()
	Eventually(s.ended).Should(BeClosed())
}
