package webhook_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/webhook/inject"
)

// newPod is one that passes Pod Security "restricted", as a workload's controller would create it.
func newPod(namespace string, change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "pay-", Namespace: namespace, Labels: map[string]string{"slots": "wanted"}}}
	pod.Spec.ServiceAccountName = "default" // no admission plugin sets it here
	pod.Spec.AutomountServiceAccountToken = new(false)
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: new(true), RunAsUser: ptr.To[int64](1000),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	restricted := &corev1.SecurityContext{AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
	pod.Spec.InitContainers = []corev1.Container{{Name: "migrate", Image: "registry.example/migrate:7", SecurityContext: restricted}}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/pay:7", SecurityContext: restricted}}
	if change != nil {
		change(pod)
	}
	return pod
}

func create(ctx context.Context, pod *corev1.Pod, opts ...client.CreateOption) *corev1.Pod {
	GinkgoHelper()
	Expect(cluster.Create(ctx, pod, opts...)).To(Succeed())
	if len(opts) == 0 {
		DeferCleanup(cluster.Delete, pod, client.GracePeriodSeconds(0))
	}
	return pod
}

func initContainers(pod *corev1.Pod) []string {
	var names []string
	for _, c := range pod.Spec.InitContainers {
		names = append(names, c.Name)
	}
	return names
}

// released makes a verified SidecarVersion that has served.
func released(ctx context.Context, name, image string) {
	GinkgoHelper()
	verified(ctx, name, image, v1alpha1.ConditionServed)
}

// verified makes a verified SidecarVersion with more conditions that are True.
func verified(ctx context.Context, name, image string, more ...string) {
	GinkgoHelper()
	v := &v1alpha1.SidecarVersion{Spec: v1alpha1.SidecarVersionSpec{Image: image, Protocols: []v1alpha1.Protocol{"bolt"}}}
	v.Name = name
	Expect(cluster.Create(ctx, v)).To(Succeed())
	DeferCleanup(cluster.Delete, v)
	_, v.Status.Digest, _ = strings.Cut(image, "@")
	for _, kind := range append(more, v1alpha1.ConditionVerified) {
		meta.SetStatusCondition(&v.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: "Resolved"})
	}
	Expect(cluster.Status().Update(ctx, v)).To(Succeed())
}

var _ = Describe("a pod that is created", Ordered, func() {
	var fleet *v1alpha1.SidecarFleet

	BeforeAll(func(ctx context.Context) {
		namespace(ctx, "shop", map[string]string{"axlemesh.io/injection": "enabled", "pod-security.kubernetes.io/enforce": "restricted"})
		namespace(ctx, "shapes", map[string]string{"axlemesh.io/injection": "enabled"})
		namespace(ctx, "plain", nil)
		released(ctx, "s1-0-0", image)
		released(ctx, "s1-1-0", image)
		verified(ctx, "unseen", image)
		released(ctx, "foreign", strings.Replace(image, "ghcr.io", "evil.example", 1))
		unverified := &v1alpha1.SidecarVersion{Spec: v1alpha1.SidecarVersionSpec{Image: image, Protocols: []v1alpha1.Protocol{"bolt"}}}
		unverified.Name = "unverified"
		Expect(cluster.Create(ctx, unverified)).To(Succeed())
		DeferCleanup(cluster.Delete, unverified)
		fleet = &v1alpha1.SidecarFleet{Spec: v1alpha1.SidecarFleetSpec{Version: "s1-0-0"}}
		fleet.Name = "slots"
		fleet.Spec.PodSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"slots": "wanted"}}
		Expect(cluster.Create(ctx, fleet)).To(Succeed())
		DeferCleanup(cluster.Delete, fleet)
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "pay", Namespace: "shop"}}
		service.Spec.Selector = map[string]string{"slots": "wanted"}
		service.Spec.Ports = []corev1.ServicePort{{Port: 12200, AppProtocol: new("bolt")}}
		Expect(cluster.Create(ctx, service)).To(Succeed())
		Eventually(func() []string {
			return initContainers(create(ctx, newPod("shop", nil), client.DryRunAll))
		}, 20*time.Second, 200*time.Millisecond).Should(ContainElement("axle-a"))
	})

	It("gets its slots in a labelled namespace, with restricted Pod Security", func(ctx context.Context) {
		pod := create(ctx, newPod("shop", nil))
		Expect(initContainers(pod)).To(Equal([]string{"axle-a", "axle-b", "migrate"}))
		Expect(pod.Annotations).To(HaveKeyWithValue(v1alpha1.SlotsAnnotation,
			`{"serving":2,"a":{"generation":2,"version":"s1-0-0"},"b":{"generation":1,"version":"s1-0-0"}}`))
		Expect(v1alpha1.ParseDesired(pod.Annotations)).To(Equal(&v1alpha1.PodDesired{
			Fleet: "slots", Generation: 2, Version: "s1-0-0",
			Ports: []v1alpha1.PortSpec{{AppPort: 12200, MeshPort: 15200, Protocol: v1alpha1.ProtocolBolt}},
		}))
		Expect(pod.Spec.InitContainers[0].Image).To(Equal(strings.Replace(image, "@", ":g2@", 1)))
		Expect(pod.Spec.InitContainers[1].Image).To(Equal(strings.Replace(image, "@", ":g1@", 1)))
		Expect(pod.Spec.Containers[0].Env).To(Equal([]corev1.EnvVar{{Name: v1alpha1.MarkerEnv, Value: "1"}}))
		Expect(pod.Spec.InitContainers[2].Env).To(Equal(pod.Spec.Containers[0].Env))
	})

	It("can be flipped by the operator, one slot after the other", func(ctx context.Context) {
		pod := create(ctx, newPod("shop", nil))
		v := &v1alpha1.SidecarVersion{}
		Expect(cluster.Get(ctx, types.NamespacedName{Name: "s1-1-0"}, v)).To(Succeed())
		for generation := int64(3); generation <= 4; generation++ {
			next := pod.DeepCopy()
			slot, err := inject.IdleSlot(next, generation-1)
			Expect(err).NotTo(HaveOccurred())
			Expect(inject.Flip(next, slot, v, generation)).To(Succeed())
			Expect(inject.SetServing(next, generation)).To(Succeed())
			Expect(operator.Patch(ctx, next, client.StrategicMergeFrom(pod, client.MergeFromWithOptimisticLock{}))).To(Succeed())
			pod = next
		}
		Expect(cluster.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		Expect(pod.Spec.InitContainers[0].Image).To(Equal(strings.Replace(image, "@", ":g4@", 1)))
		Expect(pod.Spec.InitContainers[1].Image).To(Equal(strings.Replace(image, "@", ":g3@", 1)))
		Expect(initContainers(pod)).To(Equal([]string{"axle-a", "axle-b", "migrate"}))
	})

	It("gets what the fleet ran before a rollout, and what it is pinned to", func(ctx context.Context) {
		fleet.Spec.Version = "s1-1-0"
		Expect(cluster.Update(ctx, fleet)).To(Succeed())
		fleet.Status.CurrentVersion = "s1-0-0"
		Expect(cluster.Status().Update(ctx, fleet)).To(Succeed())
		Expect(create(ctx, newPod("shop", nil)).Annotations[v1alpha1.SlotsAnnotation]).To(ContainSubstring("s1-0-0"))
		pinned := create(ctx, newPod("shop", func(p *corev1.Pod) { p.Annotations = map[string]string{v1alpha1.PinVersionAnnotation: "s1-1-0"} }))
		Expect(pinned.Annotations[v1alpha1.SlotsAnnotation]).To(ContainSubstring("s1-1-0"))
	})

	DescribeTable("starts without slots", func(ctx context.Context, namespace string, change func(*corev1.Pod)) {
		pod := create(ctx, newPod(namespace, change))
		Expect(initContainers(pod)).To(Equal([]string{"migrate"}))
		Expect(pod.Annotations).NotTo(HaveKey(v1alpha1.SlotsAnnotation))
		Expect(pod.Annotations).NotTo(HaveKey(v1alpha1.SkippedAnnotation))
	},
		Entry("in another namespace", "plain", nil),
		Entry("when no fleet selects it", "shop", func(p *corev1.Pod) { p.Labels = nil }),
		Entry("when it has opted out", "shop", func(p *corev1.Pod) { p.Labels[v1alpha1.InjectionLabel] = v1alpha1.InjectionDisabled }),
		Entry("when its version does not exist", "shop",
			func(p *corev1.Pod) { p.Annotations = map[string]string{v1alpha1.PinVersionAnnotation: "v9"} }),
		Entry("when its version is not verified", "shop",
			func(p *corev1.Pod) { p.Annotations = map[string]string{v1alpha1.PinVersionAnnotation: "unverified"} }),
		Entry("when its version has served nowhere", "shop",
			func(p *corev1.Pod) { p.Annotations = map[string]string{v1alpha1.PinVersionAnnotation: "unseen"} }),
		Entry("when a policy would refuse the image of its version", "shop",
			func(p *corev1.Pod) { p.Annotations = map[string]string{v1alpha1.PinVersionAnnotation: "foreign"} }),
	)

	It("says why it never gets a sidecar", func(ctx context.Context) {
		pod := create(ctx, newPod("shapes", func(p *corev1.Pod) { p.Spec.HostNetwork = true }))
		Expect(initContainers(pod)).To(Equal([]string{"migrate"}))
		Expect(pod.Annotations[v1alpha1.SkippedAnnotation]).To(HavePrefix("HostNetwork: "))
	})

	It("is accepted in whatever shape it comes", func(ctx context.Context) {
		files, err := filepath.Glob("inject/testdata/slots/*.yaml")
		Expect(err).NotTo(HaveOccurred())
		slotted := 0
		for _, file := range files {
			if strings.HasPrefix(filepath.Base(file), "skip-") {
				continue
			}
			data, err := os.ReadFile(file)
			Expect(err).NotTo(HaveOccurred())
			var in struct {
				Pod corev1.Pod `json:"pod"`
			}
			Expect(yaml.Unmarshal(data, &in)).To(Succeed(), file)
			pod := &in.Pod
			pod.Namespace, pod.Spec.ServiceAccountName, pod.Spec.AutomountServiceAccountToken = "shapes", "default", new(false)
			metav1.SetMetaDataLabel(&pod.ObjectMeta, "slots", "wanted")
			Expect(cluster.Create(ctx, pod, client.DryRunAll)).To(Succeed(), file)
			Expect(initContainers(pod)).To(ContainElements("axle-a", "axle-b"), file)
			if strings.Contains(file, "guaranteed") {
				Expect(pod.Status.QOSClass).To(Equal(corev1.PodQOSGuaranteed), file)
			}
			slotted++
		}
		Expect(slotted).To(BeNumerically(">", 15))
	})

	It("starts when the webhook cannot be reached", func(ctx context.Context) {
		hooks := &admissionv1.MutatingWebhookConfiguration{}
		Expect(cluster.Get(ctx, types.NamespacedName{Name: "axle-injector"}, hooks)).To(Succeed())
		good := *hooks.Webhooks[1].ClientConfig.URL
		redirect := func(ctx context.Context, url string) {
			GinkgoHelper()
			Expect(cluster.Get(ctx, types.NamespacedName{Name: "axle-injector"}, hooks)).To(Succeed())
			hooks.Webhooks[1].ClientConfig.URL = &url
			Expect(cluster.Update(ctx, hooks)).To(Succeed())
		}
		try := func(ctx context.Context) []string {
			return initContainers(create(ctx, newPod("shop", nil), client.DryRunAll))
		}
		redirect(ctx, "https://localhost:1/mutate-pods")
		DeferCleanup(func(ctx context.Context) {
			redirect(ctx, good)
			Eventually(try, 20*time.Second, 200*time.Millisecond).WithContext(ctx).Should(ContainElement("axle-a"))
		})
		Eventually(try, 20*time.Second, 200*time.Millisecond).WithContext(ctx).Should(Equal([]string{"migrate"}))
		Expect(initContainers(create(ctx, newPod("shop", nil)))).To(Equal([]string{"migrate"}))
	})
})
