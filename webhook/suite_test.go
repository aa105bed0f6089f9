package webhook_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"
	crwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/testport"
	"github.com/axlemesh/axle/webhook"
	"github.com/axlemesh/axle/webhook/certs"
)

// cluster is the administrator's client, operator that of the operator's service
// account, with the rights that config/rbac gives it and no others.
var (
	cluster, operator client.Client
	keeper            *certs.Keeper
)

const operatorUser = "system:serviceaccount:axle-system:axle-operator"

func TestWebhook(t *testing.T) {
	crlog.SetLogger(logr.Discard())
	RegisterFailHandler(Fail)
	RunSpecs(t, "webhook")
}

var _ = BeforeSuite(func(ctx context.Context) {
	Expect(os.Getenv("KUBEBUILDER_ASSETS")).NotTo(BeEmpty(),
		"KUBEBUILDER_ASSETS has to name a folder with kube-apiserver and etcd: run `make test`, or set it to what `go run ./hack/cluster assets` prints")

	env := &envtest.Environment{CRDDirectoryPaths: []string{"../config/crd/bases"}, ErrorIfCRDPathMissing: true}
	cfg, err := env.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(env.Stop)

	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	cluster, err = client.New(cfg, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	as := rest.CopyConfig(cfg)
	as.Impersonate = rest.ImpersonationConfig{UserName: operatorUser, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	operator, err = client.New(as, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())

	for _, file := range []string{
		"manager/namespace.yaml", "rbac/service_account.yaml", "rbac/role.yaml", "rbac/bindings.yaml",
		"admission/policies.yaml", "admission/bindings.yaml", "webhook/webhook.yaml",
	} {
		apply(ctx, "../config/"+file)
	}
	serve(ctx)
})

// serve runs what one replica of the operator runs, and lets the API server
// reach it on the loopback address in place of the Service.
func serve(ctx context.Context) {
	GinkgoHelper()
	port := testport.Free(GinkgoTB())

	hooks := &admissionv1.MutatingWebhookConfiguration{}
	Expect(cluster.Get(ctx, types.NamespacedName{Name: "axle-injector"}, hooks)).To(Succeed())
	for i := range hooks.Webhooks {
		hooks.Webhooks[i].ClientConfig = admissionv1.WebhookClientConfig{
			URL: new(fmt.Sprintf("https://localhost:%d%s", port, *hooks.Webhooks[i].ClientConfig.Service.Path)),
		}
	}
	Expect(cluster.Update(ctx, hooks)).To(Succeed())

	keeper = newKeeper()
	Expect(keeper.Sync(ctx)).To(Succeed())
	Expect(keeper.Inject(ctx)).To(Succeed())

	server := crwebhook.NewServer(crwebhook.Options{Host: "127.0.0.1", Port: port, TLSOpts: []func(*tls.Config){keeper.Configure}})
	webhook.Register(server, &webhook.Injector{
		Versions:   operator,
		Tokens:     minter{},
		Trust:      keeper,
		Address:    "axle-operator.axle-system.svc:15010",
		ServerName: "axle-operator.axle-system.svc",
		User:       webhook.ServiceAccount("axle-system", "axle-operator"),
		Clock:      clock.RealClock{},
	})
	webhook.RegisterPods(server, &webhook.Creator{
		Cache:        operator,
		Live:         operator,
		Trust:        keeper,
		Address:      "axle-operator.axle-system.svc:15010",
		ServerName:   "axle-operator.axle-system.svc",
		Namespace:    "axle-system",
		Repositories: []string{"ghcr.io/axlemesh/axle-sidecar"},
	})
	background, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Start(background) }()
	DeferCleanup(func() {
		stop()
		Eventually(done, 10*time.Second).Should(Receive(BeNil()))
	})
	Eventually(func() error { return server.StartedChecker()(nil) }, 10*time.Second, 50*time.Millisecond).Should(Succeed())
}

// newKeeper is another replica's.
func newKeeper() *certs.Keeper {
	return &certs.Keeper{
		Client:  operator,
		Secret:  types.NamespacedName{Namespace: "axle-system", Name: "axle-operator-tls"},
		Webhook: "axle-injector",
		Names:   append(certs.ServiceNames("axle-operator", "axle-system"), "localhost"),
		Clock:   clock.RealClock{},
	}
}

type minter struct{}

func (minter) MintJoin(podUID, namespace, name, container string, _ time.Time) (string, error) {
	return fmt.Sprintf("token(%s %s/%s %s)", podUID, namespace, name, container), nil
}

// apply creates every object of a file.
func apply(ctx context.Context, file string) {
	GinkgoHelper()
	data, err := os.ReadFile(file)
	Expect(err).NotTo(HaveOccurred())
	dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		obj := &unstructured.Unstructured{}
		err := dec.Decode(&obj.Object)
		if errors.Is(err, io.EOF) {
			return
		}
		Expect(err).NotTo(HaveOccurred(), file)
		if len(obj.Object) > 0 {
			Expect(cluster.Create(ctx, obj)).To(Succeed(), "%s: %s %s", file, obj.GetKind(), obj.GetName())
		}
	}
}
