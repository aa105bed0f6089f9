package axle_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/cluster/binaries"
	"github.com/axlemesh/axle/webhook/certs"
)

var (
	cluster    client.Client
	helmBinary string
	kubeconfig string
)

func TestInstall(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "chart")
}

var _ = BeforeSuite(func(ctx context.Context) {
	Expect(os.Getenv("KUBEBUILDER_ASSETS")).NotTo(BeEmpty(),
		"KUBEBUILDER_ASSETS has to name a folder with kube-apiserver and etcd: run `make test`, or set it to what `go run ./hack/cluster assets` prints")
	// HELM names another helm; helm 3 passes too.
	if helmBinary = os.Getenv("HELM"); helmBinary == "" {
		paths, err := binaries.Builder{Out: GinkgoWriter}.Build(ctx, "helm")
		Expect(err).NotTo(HaveOccurred())
		helmBinary = paths["helm"]
	}

	env := &envtest.Environment{}
	cfg, err := env.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(env.Stop)
	kubeconfig = filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	Expect(os.WriteFile(kubeconfig, env.KubeConfig, 0o600)).To(Succeed())

	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	cluster, err = client.New(cfg, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
})

func helm(ctx context.Context, args ...string) {
	GinkgoHelper()
	cmd := exec.CommandContext(ctx, helmBinary, append(args, "--namespace", "axle-system", "--kubeconfig", kubeconfig)...)
	out, err := cmd.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(out))
}

var _ = Describe("helm", Ordered, func() {
	hooks := func(ctx context.Context) *admissionv1.MutatingWebhookConfiguration {
		GinkgoHelper()
		h := &admissionv1.MutatingWebhookConfiguration{}
		Expect(cluster.Get(ctx, types.NamespacedName{Name: "axle-injector"}, h)).To(Succeed())
		return h
	}

	It("installs everything, and the defaults are valid objects", func(ctx context.Context) {
		helm(ctx, "install", "axle", ".", "--create-namespace")

		data := &corev1.ConfigMap{}
		Expect(cluster.Get(ctx, types.NamespacedName{Namespace: "axle-system", Name: "axle-defaults"}, data)).To(Succeed())
		defaults := strings.Split(data.Data["defaults.yaml"], "\n---\n")
		Expect(defaults).To(HaveLen(2))
		version, fleet := &v1alpha1.SidecarVersion{}, &v1alpha1.SidecarFleet{}
		Expect(yaml.UnmarshalStrict([]byte(defaults[0]), version)).To(Succeed())
		Expect(yaml.UnmarshalStrict([]byte(defaults[1]), fleet)).To(Succeed())
		Expect(cluster.Create(ctx, version)).To(Succeed())
		Expect(cluster.Create(ctx, fleet)).To(Succeed())
		Expect(fleet.Name).To(Equal("default"))
		Expect(fleet.Spec.Version).To(Equal(version.Name))
	})

	It("leaves the authority in the webhook and the user's version in the fleet when it upgrades", func(ctx context.Context) {
		h := hooks(ctx)
		made, _, err := certs.Renew(certs.Material{}, []string{"axle-operator.axle-system.svc"}, time.Now())
		Expect(err).NotTo(HaveOccurred())
		bundle := made.Bundle
		for i := range h.Webhooks {
			h.Webhooks[i].ClientConfig.CABundle = bundle
		}
		Expect(cluster.Update(ctx, h)).To(Succeed())
		fleet := &v1alpha1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"version":"v1-1-0"}}`))
		Expect(cluster.Patch(ctx, fleet, patch)).To(Succeed())

		helm(ctx, "upgrade", "axle", ".", "--set", "operator.replicas=1")

		Expect(hooks(ctx).Webhooks).To(HaveEach(HaveField("ClientConfig.CABundle", Equal(bundle))))
		Expect(cluster.Get(ctx, client.ObjectKeyFromObject(fleet), fleet)).To(Succeed())
		Expect(fleet.Spec.Version).To(Equal("v1-1-0"))
	})

	It("uninstalls all but the kinds and what users made of them, and installs again over them", func(ctx context.Context) {
		helm(ctx, "uninstall", "axle")

		fleet := &v1alpha1.SidecarFleet{}
		Expect(cluster.Get(ctx, types.NamespacedName{Name: "default"}, fleet)).To(Succeed())
		Expect(fleet.Spec.Version).To(Equal("v1-1-0"))
		var policies admissionv1.ValidatingAdmissionPolicyList
		Expect(cluster.List(ctx, &policies)).To(Succeed())
		Expect(policies.Items).To(BeEmpty())
		var webhooks admissionv1.MutatingWebhookConfigurationList
		Expect(cluster.List(ctx, &webhooks)).To(Succeed())
		Expect(webhooks.Items).To(BeEmpty())

		helm(ctx, "install", "axle", ".")
		Expect(hooks(ctx).Webhooks).To(HaveLen(2))
	})
})
