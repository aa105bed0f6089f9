// The Axle operator: controllers, webhook, xDS server and control channel in one process. Every replica serves; one leads.
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	crwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/control"
	"github.com/axlemesh/axle/controllers/defaults"
	"github.com/axlemesh/axle/controllers/identity"
	"github.com/axlemesh/axle/controllers/sidecarfleet"
	"github.com/axlemesh/axle/controllers/sidecarversion"
	"github.com/axlemesh/axle/controllers/trafficrule"
	"github.com/axlemesh/axle/controllers/xds"
	"github.com/axlemesh/axle/webhook"
	"github.com/axlemesh/axle/webhook/certs"
)

// Names that the manifests fix.
const (
	tlsSecret     = "axle-operator-tls"
	webhookConfig = "axle-injector"
	leaderLease   = "axle-operator"
)

// maxMessage bounds one message from a sidecar, in bytes.
const maxMessage = 1 << 20

// options are the flags.
type options struct {
	namespace, service, account   string
	webhookPort                   int
	controlAddress                string
	metricsAddress, healthAddress string
	leaderElect, verbose          bool
	defaultsFile                  string
	insecure, repositories        list
	pullSecrets                   list
}

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, strings.Split(v, ",")...); return nil }

func main() {
	var o options
	flag.StringVar(&o.namespace, "namespace", "axle-system", "namespace of the operator")
	flag.StringVar(&o.service, "service", "axle-operator", "Service of the webhook and of the control endpoint, in that namespace")
	flag.StringVar(&o.account, "service-account", "axle-operator", "service account of the operator, in that namespace")
	flag.IntVar(&o.webhookPort, "webhook-port", 9443, "port of the webhook")
	flag.StringVar(&o.controlAddress, "control-address", ":15010", "address that sidecars connect to: control channel and xDS")
	flag.StringVar(&o.metricsAddress, "metrics-address", ":8080", "address of /metrics; 0 for none")
	flag.StringVar(&o.healthAddress, "health-address", ":8081", "address of /healthz and /readyz; 0 for none")
	flag.BoolVar(&o.leaderElect, "leader-elect", false, "let one of several replicas run the controllers")
	flag.StringVar(&o.defaultsFile, "defaults-file", "", "YAML file with SidecarVersions and SidecarFleets to create once, if absent")
	flag.Var(&o.insecure, "insecure-registry", "registry (host or host:port) to ask over plain HTTP; may be repeated")
	flag.Var(&o.repositories, "allowed-repositories", "repositories that new pods may get their sidecar from, separated by commas; none given for any")
	flag.Var(&o.pullSecrets, "pull-secrets", "Secrets of that namespace that images of sidecars are pulled with before a rollout, separated by commas")
	flag.BoolVar(&o.verbose, "verbose", false, "log debug messages")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "axle-operator:", err)
		os.Exit(1)
	}
}

// run is the operator, until ctx ends.
func run(ctx context.Context, o options) error {
	log, flush, err := logger(o.verbose)
	if err != nil {
		return err
	}
	defer flush()
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	cfg.QPS, cfg.Burst = 100, 200
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), axlev1.AddToScheme(scheme)); err != nil {
		return err
	}
	direct, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	trust := &certs.Keeper{
		Client: direct, Secret: types.NamespacedName{Namespace: o.namespace, Name: tlsSecret}, Webhook: webhookConfig,
		Names: certs.ServiceNames(o.service, o.namespace), Clock: clock.RealClock{}, Log: log.WithName("certs"),
	}
	keys := &identity.Ring{Client: direct, Namespace: o.namespace, Clock: clock.RealClock{}, Random: rand.Reader, Log: log.WithName("keys")}
	if err := errors.Join(trust.Sync(ctx), keys.Load(ctx)); err != nil {
		return err
	}
	if err := trust.Inject(ctx); err != nil {
		log.Error(err, "the webhook does not trust this operator yet; trying again in the background")
	}
	mgr, err := ctrl.NewManager(cfg, managerOptions(o, scheme, log, trust))
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	if err := wire(ctx, mgr, o, log, trust, keys, direct); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func logger(verbose bool) (logr.Logger, func(), error) {
	cfg := zap.NewProductionConfig()
	cfg.EncoderConfig.TimeKey, cfg.Sampling = "time", nil
	if verbose {
		cfg.Level = zap.NewAtomicLevelAt(zap.DebugLevel)
	}
	z, err := cfg.Build()
	if err != nil {
		return logr.Discard(), nil, fmt.Errorf("make the logger: %w", err)
	}
	return zapr.NewLogger(z), func() { _ = z.Sync() }, nil // a terminal cannot be synced, and that is all right
}

func managerOptions(o options, scheme *runtime.Scheme, log logr.Logger, trust *certs.Keeper) ctrl.Options {
	return ctrl.Options{
		Scheme:                        scheme,
		Logger:                        log,
		Cache:                         cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		Metrics:                       server.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress:        o.healthAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              leaderLease,
		LeaderElectionNamespace:       o.namespace,
		LeaderElectionReleaseOnCancel: true,
		WebhookServer:                 crwebhook.NewServer(crwebhook.Options{Port: o.webhookPort, TLSOpts: []func(*tls.Config){trust.Configure}}),
	}
}

// wire puts the parts together. What serves runs on every replica, what decides on the leader.
func wire(ctx context.Context, mgr ctrl.Manager, o options, log logr.Logger, trust *certs.Keeper, keys *identity.Ring, direct client.Client) error {
	_, port, err := net.SplitHostPort(o.controlAddress)
	if err != nil {
		return fmt.Errorf("control address: %w", err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("control address %q: %w", o.controlAddress, err)
	}
	name := certs.ServiceNames(o.service, o.namespace)[0]
	webhook.Register(mgr.GetWebhookServer(), &webhook.Injector{
		Versions: direct, Tokens: keys, Trust: trust, Address: net.JoinHostPort(name, port), ServerName: name,
		User: webhook.ServiceAccount(o.namespace, o.account), Clock: clock.RealClock{}, Log: log.WithName("webhook"),
	})
	webhook.RegisterPods(mgr.GetWebhookServer(), &webhook.Creator{
		Cache: mgr.GetClient(), Live: mgr.GetAPIReader(), Trust: trust, Address: net.JoinHostPort(name, port), ServerName: name,
		Namespace: o.namespace, Repositories: o.repositories, PullSecrets: len(o.pullSecrets) > 0, Log: log.WithName("creator"),
	})
	store := xds.NewStore(log.WithName("xds"))
	source := &xds.Source{Client: mgr.GetClient(), Store: store}
	recorder := mgr.GetEventRecorder("axle")
	fleets := &sidecarfleet.Reconciler{
		Client: mgr.GetClient(), Clock: clock.RealClock{}, Events: recorder, Log: log.WithName("sidecarfleet"), Namespace: o.namespace,
		PullSecrets: o.pullSecrets,
	}
	versions := &sidecarversion.Reconciler{
		Client: mgr.GetClient(), Clock: clock.RealClock{}, Log: log.WithName("sidecarversion"), Resolve: sidecarversion.Registry{Insecure: o.insecure}.Digest,
	}
	channel := &control.Server{
		Pods: mgr.GetClient(), Live: mgr.GetAPIReader(), Writer: mgr.GetClient(), Keys: keys, Clock: clock.RealClock{},
		Tokens: control.TokenReviews{Client: direct}, Log: log.WithName("control"), Metrics: control.NewMetrics(metrics.Registry), TrustBundle: trust.CABundle,
	}
	end := &endpoint{
		address: o.controlAddress, trust: trust, channel: channel, source: source, log: log.WithName("endpoint"),
		auth: &control.Authenticator{Keys: keys, Pods: mgr.GetClient(), Clock: clock.RealClock{}},
		configure: func(ctx context.Context) discoveryv3.AggregatedDiscoveryServiceServer {
			return xds.NewServer(ctx, store, mgr.GetClient(), recorder, log.WithName("xds"), xds.NewMetrics(metrics.Registry))
		},
	}
	if err := errors.Join(fleets.Setup(ctx, mgr), versions.Setup(ctx, mgr), source.Setup(ctx, mgr), rules(mgr, o, store, recorder, log), relay(ctx, mgr, channel)); err != nil {
		return fmt.Errorf("set up the controllers: %w", err)
	}
	create := &defaults.Creator{Client: direct, File: o.defaultsFile, Clock: clock.RealClock{}, Log: log.WithName("defaults")}
	for _, r := range []manager.Runnable{trust, keys, channel, end, create} {
		if err := mgr.Add(r); err != nil {
			return err
		}
	}
	return errors.Join(
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("certificates", trust.Ready),
		mgr.AddReadyzCheck("webhook", mgr.GetWebhookServer().StartedChecker()),
		mgr.AddReadyzCheck("control", end.ready),
	)
}

// rules sets up what keeps the status of TrafficRules: the leader writes conditions, every replica what its sidecars say.
func rules(mgr ctrl.Manager, o options, store *xds.Store, recorder events.EventRecorder, log logr.Logger) error {
	self, err := os.Hostname() // of a pod, its name
	if err != nil {
		return fmt.Errorf("find the replica's name: %w", err)
	}
	leader := &trafficrule.Reconciler{
		Client: mgr.GetClient(), Rules: store, Clock: clock.RealClock{}, Events: recorder, Log: log.WithName("trafficrule"),
		Self: self, Namespace: o.namespace, Account: o.account,
	}
	replica := &trafficrule.Reporter{Client: mgr.GetClient(), Rules: store, Clock: clock.RealClock{}, Self: self}
	return errors.Join(leader.Setup(mgr), replica.Setup(mgr))
}

// relay feeds every pod event to the control channel.
func relay(ctx context.Context, mgr ctrl.Manager, channel *control.Server) error {
	informer, err := mgr.GetCache().GetInformer(ctx, &corev1.Pod{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	changed := func(o any) {
		if pod, ok := o.(*corev1.Pod); ok {
			channel.PodChanged(pod)
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, o any) { changed(o) },
	})
	return err
}

// endpoint is what sidecars connect to: the control channel and ADS behind one TLS listener.
type endpoint struct {
	address   string
	trust     *certs.Keeper
	auth      *control.Authenticator
	channel   *control.Server
	source    *xds.Source
	configure func(context.Context) discoveryv3.AggregatedDiscoveryServiceServer
	log       logr.Logger
	serving   atomic.Bool
}

// NeedLeaderElection is false: every replica serves.
func (e *endpoint) NeedLeaderElection() bool { return false }

func (e *endpoint) ready(*http.Request) error {
	if !e.serving.Load() {
		return errors.New("configuration is not complete yet")
	}
	return nil
}

// Start fills the store, then serves until ctx ends. Streams are cut then: sidecars connect to another replica.
func (e *endpoint) Start(ctx context.Context) error {
	if err := e.source.Prime(ctx); err != nil {
		return err
	}
	tlsConfig := &tls.Config{}
	e.trust.Configure(tlsConfig)
	s := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(tlsConfig)),
		grpc.UnaryInterceptor(e.auth.Unary), grpc.StreamInterceptor(e.auth.Stream),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(16),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
	controlv1.RegisterControlServer(s, e.channel)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, e.configure(ctx))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", e.address)
	if err != nil {
		return fmt.Errorf("listen for sidecars on %q: %w", e.address, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(listener) }() // ends with Stop
	e.serving.Store(true)
	e.log.Info("serving sidecars", "address", listener.Addr().String())
	select {
	case err := <-ended:
		return fmt.Errorf("serve sidecars on %q: %w", e.address, err)
	case <-ctx.Done():
		s.Stop()
		return <-ended // nil after Stop
	}
}
