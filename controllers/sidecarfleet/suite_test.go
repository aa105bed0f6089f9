package sidecarfleet_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/control"
	"github.com/axlemesh/axle/controllers/identity"
	"github.com/axlemesh/axle/controllers/sidecarfleet"
	"github.com/axlemesh/axle/controllers/sidecarversion"
	"github.com/axlemesh/axle/controllers/xds"
	"github.com/axlemesh/axle/hack/testport"
)

// cluster is a real API server. There is no kubelet: node_test.go plays it, and the sidecars.
var (
	restConfig *rest.Config
	scheme     = runtime.NewScheme()
	cluster    client.Client
	ring       *identity.Ring
	op         *operator
)

func TestFleets(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(10 * time.Second)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	SetDefaultConsistentlyDuration(time.Second)
	RunSpecs(t, "sidecarfleet")
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

	ns := &corev1.Namespace{}
	ns.Name = "axle-system"
	Expect(cluster.Create(ctx, ns)).To(Succeed())
	ring = &identity.Ring{Client: cluster, Namespace: ns.Name, Clock: clock.RealClock{}, Random: rand.Reader, Log: GinkgoLogr}
	Expect(ring.Load(ctx)).To(Succeed())

	op = &operator{address: fmt.Sprintf("127.0.0.1:%d", testport.Free(GinkgoTB()))}
	op.start()
	DeferCleanup(func() { op.stop() })
	kubelet := &node{}
	kubelet.start()
	DeferCleanup(kubelet.stop)
})

// operator is the whole of it but the webhook: what main wires, on loopback and without TLS.
type operator struct {
	address string
	cancel  context.CancelFunc
	ended   chan error
	grpc    *grpc.Server
	served  chan error
}

func (o *operator) start() {
	GinkgoHelper()
	ctx, cancel := context.WithCancel(context.Background())
	mgr, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme: scheme, Logger: logr.Discard(), Metrics: server.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	Expect(err).NotTo(HaveOccurred())
	recorder := mgr.GetEventRecorder("axle")
	fleets := &sidecarfleet.Reconciler{Client: mgr.GetClient(), Clock: clock.RealClock{}, Events: recorder, Log: GinkgoLogr, Namespace: "axle-system"}
	Expect(fleets.Setup(ctx, mgr)).To(Succeed())
	versions := &sidecarversion.Reconciler{
		Client: mgr.GetClient(), Clock: clock.RealClock{}, Log: logr.Discard(),
		Resolve: func(context.Context, string) (string, error) { return "", net.ErrClosed },
	}
	Expect(versions.Setup(ctx, mgr)).To(Succeed())
	store := xds.NewStore(logr.Discard())
	source := &xds.Source{Client: mgr.GetClient(), Store: store}
	Expect(source.Setup(ctx, mgr)).To(Succeed())

	registry := prometheus.NewRegistry()
	channel := &control.Server{
		Pods: mgr.GetClient(), Live: mgr.GetAPIReader(), Writer: mgr.GetClient(), Keys: ring, Clock: clock.RealClock{},
		Log: logr.Discard(), Metrics: control.NewMetrics(registry),
	}
	Expect(mgr.Add(channel)).To(Succeed())
	informer, err := mgr.GetCache().GetInformer(ctx, &corev1.Pod{})
	Expect(err).NotTo(HaveOccurred())
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(p any) { channel.PodChanged(p.(*corev1.Pod)) },
		UpdateFunc: func(_, p any) { channel.PodChanged(p.(*corev1.Pod)) },
	})
	Expect(err).NotTo(HaveOccurred())

	o.cancel, o.ended, o.served = cancel, make(chan error, 1), make(chan error, 1)
	go func() { o.ended <- mgr.Start(ctx) }()
	Expect(mgr.GetCache().WaitForCacheSync(ctx)).To(BeTrue())
	Expect(source.Prime(ctx)).To(Succeed())
	auth := &control.Authenticator{Keys: ring, Pods: mgr.GetClient(), Clock: clock.RealClock{}}
	o.grpc = grpc.NewServer(grpc.UnaryInterceptor(auth.Unary), grpc.StreamInterceptor(auth.Stream))
	controlv1.RegisterControlServer(o.grpc, channel)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(o.grpc, xds.NewServer(ctx, store, mgr.GetClient(), recorder, logr.Discard(), xds.NewMetrics(registry)))
	l, err := net.Listen("tcp", o.address)
	Expect(err).NotTo(HaveOccurred())
	go func() { o.served <- o.grpc.Serve(l) }()
}

func (o *operator) stop() {
	GinkgoHelper()
	o.grpc.Stop()
	o.cancel()
	Eventually(o.served).Should(Receive(BeNil()))
	Eventually(o.ended).Should(Receive(BeNil()))
}
