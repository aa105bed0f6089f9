package config_test

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/webhook/inject"
)

const repository = "ghcr.io/axlemesh/axle-sidecar"

var (
	digest  = "@sha256:" + strings.Repeat("0", 64)
	allowed = repository + digest
)

// newPod creates a pod whose only container has this name and image.
func newPod(ctx context.Context, namespace, container, image string) (*corev1.Pod, error) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-", Namespace: namespace}}
	pod.Spec.Containers = []corev1.Container{{Name: container, Image: image}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	pod.Spec.AutomountServiceAccountToken = new(false)
	err := cluster.Create(ctx, pod)
	if err == nil {
		DeferCleanup(cluster.Delete, pod, client.GracePeriodSeconds(0))
	}
	return pod, err
}

func namespaced(ctx context.Context, name string) string {
	GinkgoHelper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	Expect(cluster.Create(ctx, ns)).To(Succeed())
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: name}}
	Expect(cluster.Create(ctx, account)).To(Succeed()) // no controller makes it here
	return name
}

// add sends an ephemeral container to a pod, as the controllers and kubectl debug do.
func add(ctx context.Context, c client.Client, pod *corev1.Pod, container corev1.EphemeralContainer) error {
	before := pod.DeepCopy()
	after := pod.DeepCopy()
	after.Spec.EphemeralContainers = append(after.Spec.EphemeralContainers, container)
	return c.SubResource("ephemeralcontainers").Patch(ctx, after, client.StrategicMergeFrom(before))
}

// rendered is a sidecar as the webhook makes it.
func rendered(pod *corev1.Pod, change func(*corev1.EphemeralContainer)) corev1.EphemeralContainer {
	GinkgoHelper()
	pod = pod.DeepCopy()
	pod.Namespace, pod.Status.PodIP = "payments", "10.0.0.1"
	version := &v1alpha1.SidecarVersion{Spec: v1alpha1.SidecarVersionSpec{Image: allowed}}
	version.Name = "v1"
	c, report := inject.Render(inject.Input{
		Pod: pod, Version: version,
		Stub: inject.NewStub(inject.Stub{Version: "v1", Generation: 1, Fleet: "default"}),
	})
	Expect(report.Err()).NotTo(HaveOccurred())
	if change != nil {
		change(&c)
	}
	return c
}

// inForce waits until each policy has been seen denying something: they work a moment after they were created.
func inForce(ctx context.Context) {
	GinkgoHelper()
	namespaced(ctx, "probes")
	probe := func() *corev1.Pod {
		GinkgoHelper()
		pod, err := newPod(ctx, "probes", "app", "pay:7")
		Expect(err).NotTo(HaveOccurred())
		return pod
	}
	for policy, try := range map[string]func() error{
		"axle-reserved-names": func() error {
			return add(ctx, cluster, probe(), corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "axle-g1", Image: allowed}})
		},
		"axle-operator-adds-sidecars-only": func() error {
			pod := probe()
			return add(ctx, operator, pod, rendered(pod, func(c *corev1.EphemeralContainer) { c.Image = "evil@sha256:0" }))
		},
		"axle-created-sidecars": func() error {
			_, err := newPod(ctx, "probes", "axle-a", "evil:1")
			return err
		},
		"axle-operator-flips-slots-only": func() error {
			return change(ctx, operator, probe(), func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} })
		},
	} {
		Eventually(try, 20*time.Second, 200*time.Millisecond).Should(MatchError(ContainSubstring(policy)))
	}
}

var _ = Describe("the admission policies", Ordered, func() {
	var pod *corev1.Pod

	BeforeAll(func(ctx context.Context) { namespaced(ctx, "policies") })

	BeforeEach(func(ctx context.Context) {
		var err error
		pod, err = newPod(ctx, "policies", "app", "registry.example/pay:7")
		Expect(err).NotTo(HaveOccurred())
	})

	It("let the operator add what the webhook renders", func(ctx context.Context) {
		Expect(add(ctx, operator, pod, rendered(pod, nil))).To(Succeed())
	})

	DescribeTable("deny the operator anything else",
		func(ctx context.Context, says string, change func(*corev1.EphemeralContainer)) {
			err := add(ctx, operator, pod, rendered(pod, change))
			Expect(err).To(MatchError(And(ContainSubstring("axle-operator-adds-sidecars-only"), ContainSubstring(says))))
		},
		Entry("another repository", "allowed repositories (ghcr.io/axlemesh/axle-sidecar)",
			func(c *corev1.EphemeralContainer) { c.Image = "evil.example/axle-sidecar" + digest }),
		Entry("a repository that begins like an allowed one", "repositories",
			func(c *corev1.EphemeralContainer) { c.Image = repository + "-evil" + digest }),
		Entry("a repository below an allowed one", "repositories",
			func(c *corev1.EphemeralContainer) { c.Image = repository + "/evil" + digest }),
		Entry("an allowed repository as a host", "repositories",
			func(c *corev1.EphemeralContainer) { c.Image = repository + ":5000/evil" + digest }),
		Entry("no digest", "by digest", func(c *corev1.EphemeralContainer) { c.Image = repository + ":v1" }),
		Entry("half a digest", "by digest", func(c *corev1.EphemeralContainer) { c.Image = repository + "@sha256:00" }),
		Entry("the stub itself", "by digest", func(c *corev1.EphemeralContainer) {
			*c = inject.NewStub(inject.Stub{Version: "v1", Generation: 1, Fleet: "default"})
		}),
		Entry("another name", "axle-g<generation>", func(c *corev1.EphemeralContainer) { c.Name = "debugger" }),
		Entry("the name of a slot", "axle-g<generation>", func(c *corev1.EphemeralContainer) { c.Name = "axle-a" }),
		Entry("a command", "command", func(c *corev1.EphemeralContainer) { c.Command = []string{"/bin/sh"} }),
		Entry("other arguments", "command", func(c *corev1.EphemeralContainer) { c.Args = []string{"run", "-f", "/data/x"} }),
		Entry("a volume of the pod", "volumes",
			func(c *corev1.EphemeralContainer) {
				c.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
			}),
		Entry("a target container", "target container", func(c *corev1.EphemeralContainer) { c.TargetContainerName = "app" }),
		Entry("a terminal", "terminal", func(c *corev1.EphemeralContainer) { c.Stdin, c.TTY = true, true }),
		Entry("no security context", "rights", func(c *corev1.EphemeralContainer) { c.SecurityContext = nil }),
		Entry("root", "rights", func(c *corev1.EphemeralContainer) { c.SecurityContext.RunAsUser = ptr.To[int64](0) }),
		Entry("privilege", "rights", func(c *corev1.EphemeralContainer) {
			c.SecurityContext.AllowPrivilegeEscalation, c.SecurityContext.Privileged = nil, new(true)
		}),
		Entry("a capability", "rights", func(c *corev1.EphemeralContainer) {
			c.SecurityContext.Capabilities.Add = []corev1.Capability{"NET_BIND_SERVICE"}
		}),
		Entry("a root that can be written", "rights",
			func(c *corev1.EphemeralContainer) { c.SecurityContext.ReadOnlyRootFilesystem = nil }),
	)

	It("deny the operator pods of kube-system and of its own namespace", func(ctx context.Context) {
		for _, ns := range []string{"kube-system", "axle-system"} {
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: ns}}
			Expect(client.IgnoreAlreadyExists(cluster.Create(ctx, account))).To(Succeed())
			other, err := newPod(ctx, ns, "app", "registry.example/pay:7")
			Expect(err).NotTo(HaveOccurred())
			Expect(add(ctx, operator, other, rendered(other, nil))).To(MatchError(ContainSubstring("kube-system or of its own namespace")))
		}
	})

	It("keep the names of sidecars for the operator", func(ctx context.Context) {
		err := add(ctx, cluster, pod, rendered(pod, nil))
		Expect(err).To(MatchError(ContainSubstring("only the Axle operator may add them")))
	})

	It("leave debuggers alone, also in a pod with a sidecar", func(ctx context.Context) {
		Expect(add(ctx, operator, pod, rendered(pod, nil))).To(Succeed())
		Expect(cluster.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		debugger := corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debugger", Image: "busybox"}}
		Expect(add(ctx, cluster, pod, debugger)).To(Succeed())
	})

	It("leave the application's own containers to its owners", func(ctx context.Context) {
		Expect(add(ctx, operator, pod, rendered(pod, nil))).To(Succeed())
		Expect(cluster.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		pod.Spec.Containers[0].Image = "registry.example/pay:8"
		Expect(cluster.Update(ctx, pod)).To(Succeed())
	})

	It("let only allowed images into containers that are created with a sidecar's name, and nobody change them", func(ctx context.Context) {
		_, err := newPod(ctx, "policies", "axle-a", "evil.example/axle-sidecar"+digest)
		Expect(err).To(MatchError(And(ContainSubstring("axle-created-sidecars"), ContainSubstring("repositories"))))
		_, err = newPod(ctx, "policies", "axle-a", repository+":v1")
		Expect(err).To(MatchError(ContainSubstring("by digest")))

		slot, err := newPod(ctx, "policies", "axle-a", repository+":g1"+digest)
		Expect(err).NotTo(HaveOccurred())
		slot.Spec.Containers[0].Image = "evil.example/x:1"
		Expect(cluster.Update(ctx, slot)).To(MatchError(ContainSubstring("only the Axle operator may change their image")))
	})
})
