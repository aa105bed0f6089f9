package config_test

import (
	"context"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/webhook/inject"
)

// slotted creates a pod as the webhook makes it, with a label, an annotation and an init container of its own.
func slotted(ctx context.Context, namespace string) *corev1.Pod {
	GinkgoHelper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "pod-", Namespace: namespace, Labels: map[string]string{"app": "pay"}, Annotations: map[string]string{"note": "mine"},
	}}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/pay:7"}}
	pod.Spec.InitContainers = []corev1.Container{{Name: "migrate", Image: "registry.example/migrate:7"}}
	pod.Spec.ServiceAccountName = "default" // no admission plugin sets it here
	pod.Spec.AutomountServiceAccountToken = new(false)
	out, report := inject.RenderSlots(inject.SlotsInput{Pod: pod, Fleet: "default", Version: version()})
	Expect(report.Err()).NotTo(HaveOccurred())
	Expect(cluster.Create(ctx, out)).To(Succeed())
	DeferCleanup(cluster.Delete, out, client.GracePeriodSeconds(0))
	return out
}

func version() *v1alpha1.SidecarVersion {
	v := &v1alpha1.SidecarVersion{Spec: v1alpha1.SidecarVersionSpec{Image: allowed}}
	v.Name = "v1"
	return v
}

// change patches a pod as the fleet controller does.
func change(ctx context.Context, c client.Client, pod *corev1.Pod, edit func(*corev1.Pod)) error {
	next := pod.DeepCopy()
	edit(next)
	return c.Patch(ctx, next, client.StrategicMergeFrom(pod, client.MergeFromWithOptimisticLock{}))
}

var _ = Describe("the policy for slots", Ordered, func() {
	var pod *corev1.Pod

	BeforeAll(func(ctx context.Context) { namespaced(ctx, "flips") })
	BeforeEach(func(ctx context.Context) { pod = slotted(ctx, "flips") })

	It("lets the operator flip a slot and write its annotations, in one patch", func(ctx context.Context) {
		Expect(change(ctx, operator, pod, func(p *corev1.Pod) {
			Expect(inject.Flip(p, v1alpha1.SlotB, version(), 3)).To(Succeed())
			p.Annotations[v1alpha1.DesiredAnnotation] = `{}`
			delete(p.Annotations, v1alpha1.WarningsAnnotation)
		})).To(Succeed())

		Expect(cluster.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		Expect(pod.Spec.InitContainers[1].Image).To(Equal(repository + ":g3" + digest))
		Expect(pod.Spec.InitContainers[0].Image).To(Equal(repository + ":g2" + digest))
	})

	DescribeTable("denies the operator anything else",
		func(ctx context.Context, says string, edit func(*corev1.Pod)) {
			Expect(change(ctx, operator, pod, edit)).To(MatchError(And(
				ContainSubstring("axle-operator-flips-slots-only"), ContainSubstring(says))))
		},
		Entry("another repository", "allowed repositories (ghcr.io/axlemesh/axle-sidecar)",
			func(p *corev1.Pod) { p.Spec.InitContainers[0].Image = "evil.example/axle-sidecar:g3" + digest }),
		Entry("a repository that begins like an allowed one", "repositories",
			func(p *corev1.Pod) { p.Spec.InitContainers[0].Image = repository + "-evil:g3" + digest }),
		Entry("no digest", "digest", func(p *corev1.Pod) { p.Spec.InitContainers[0].Image = repository + ":g3" }),
		Entry("no generation", "generation", func(p *corev1.Pod) { p.Spec.InitContainers[0].Image = repository + digest }),
		Entry("an image of the application's init container", "axle-a and axle-b",
			func(p *corev1.Pod) { p.Spec.InitContainers[2].Image = repository + ":g3" + digest }),
		Entry("an image of the application", "nothing else",
			func(p *corev1.Pod) { p.Spec.Containers[0].Image = repository + ":g3" + digest }),
		Entry("a toleration", "nothing else",
			func(p *corev1.Pod) {
				p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Operator: "Exists"})
			}),
		Entry("a deadline", "nothing else", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](1) }),
		Entry("a label", "labels", func(p *corev1.Pod) { p.Labels["app"] = "other" }),
		Entry("a finalizer", "finalizers", func(p *corev1.Pod) { p.Finalizers = []string{"example.com/stay"} }),
		Entry("an owner", "owners", func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n", UID: "1"}}
		}),
		Entry("an annotation of its users", "annotations", func(p *corev1.Pod) { p.Annotations["note"] = "yours" }),
		Entry("a new annotation that is not Axle's", "annotations",
			func(p *corev1.Pod) { p.Annotations["example.com/x"] = "y" }),
		Entry("taking an annotation of its users away", "annotations", func(p *corev1.Pod) { delete(p.Annotations, "note") }),
	)

	It("denies the operator pods of kube-system", func(ctx context.Context) {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "kube-system"}}
		Expect(client.IgnoreAlreadyExists(cluster.Create(ctx, account))).To(Succeed())
		other := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-", Namespace: "kube-system"}}
		other.Spec.Containers = pod.Spec.Containers
		other.Spec.InitContainers = []corev1.Container{{Name: "axle-a", Image: repository + ":g1" + digest}}
		Expect(cluster.Create(ctx, other)).To(Succeed())
		DeferCleanup(cluster.Delete, other, client.GracePeriodSeconds(0))
		Expect(change(ctx, operator, other, func(p *corev1.Pod) { p.Spec.InitContainers[0].Image = repository + ":g2" + digest })).
			To(MatchError(ContainSubstring("kube-system or of its own namespace")))
	})

	It("keeps slots for the operator, and the rest of the pod for its owners", func(ctx context.Context) {
		Expect(change(ctx, cluster, pod, func(p *corev1.Pod) { p.Spec.InitContainers[1].Image = repository + ":g3" + digest })).
			To(MatchError(ContainSubstring("only the Axle operator may change their image")))
		Expect(change(ctx, cluster, pod, func(p *corev1.Pod) {
			p.Spec.Containers[0].Image, p.Labels["app"] = "registry.example/pay:8", "other"
		})).To(Succeed())
	})

	It("is as strict when a pod is created", func(ctx context.Context) {
		evil := pod.DeepCopy()
		evil.ObjectMeta = metav1.ObjectMeta{GenerateName: "pod-", Namespace: "flips"}
		evil.Spec.InitContainers[1].Image = strings.Replace(evil.Spec.InitContainers[1].Image, repository, "evil.example/x", 1)
		Expect(cluster.Create(ctx, evil)).To(MatchError(ContainSubstring("axle-created-sidecars")))
	})
})
