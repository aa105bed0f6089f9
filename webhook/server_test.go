package webhook_test

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/webhook/inject"
)

const image = "ghcr.io/axlemesh/axle-sidecar@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func namespace(ctx context.Context, name string, labels map[string]string) {
	GinkgoHelper()
	Expect(cluster.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})).To(Succeed())
	Expect(cluster.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: name}})).To(Succeed())
}

// runningPod is one that passes Pod Security "restricted" and has an address.
func runningPod(ctx context.Context, namespace string, change func(*corev1.Pod)) *corev1.Pod {
	GinkgoHelper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "pay-", Namespace: namespace}}
	pod.Spec.AutomountServiceAccountToken = new(false)
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: new(true), RunAsUser: ptr.To[int64](1000),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/pay:7", SecurityContext: &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}}}
	if change != nil {
		change(pod)
	}
	Expect(cluster.Create(ctx, pod)).To(Succeed())
	DeferCleanup(cluster.Delete, pod, client.GracePeriodSeconds(0))
	pod.Status.Phase, pod.Status.PodIP, pod.Status.PodIPs = corev1.PodRunning, "10.1.2.3", []corev1.PodIP{{IP: "10.1.2.3"}}
	Expect(cluster.Status().Update(ctx, pod)).To(Succeed())
	return pod
}

func send(ctx context.Context, c client.Client, pod *corev1.Pod, containers ...corev1.EphemeralContainer) error {
	before := pod.DeepCopy()
	pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, containers...)
	return c.SubResource("ephemeralcontainers").Patch(ctx, pod, client.StrategicMergeFrom(before))
}

func stub(generation int64, version string) corev1.EphemeralContainer {
	return inject.NewStub(inject.Stub{Version: version, Generation: generation, Fleet: "default"})
}

// restricted makes a container pass Pod Security, as its sender would have to.
func restricted(c corev1.EphemeralContainer) corev1.EphemeralContainer {
	c.SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	return c
}

var _ = Describe("a stub that the operator sends", Ordered, func() {
	BeforeAll(func(ctx context.Context) {
		namespace(ctx, "payments", map[string]string{
			"axlemesh.io/injection":              "enabled",
			"pod-security.kubernetes.io/enforce": "restricted",
		})
		v := &v1alpha1.SidecarVersion{Spec: v1alpha1.SidecarVersionSpec{Image: image, Protocols: []v1alpha1.Protocol{"bolt"}}}
		v.Name = "v1-0-0"
		Expect(cluster.Create(ctx, v)).To(Succeed())
		tagged := &v1alpha1.SidecarVersion{Spec: v1alpha1.SidecarVersionSpec{
			Image: "ghcr.io/axlemesh/axle-sidecar:v1.1.0", Protocols: []v1alpha1.Protocol{"bolt"},
		}}
		tagged.Name = "v1-1-0"
		Expect(cluster.Create(ctx, tagged)).To(Succeed())
		// Webhooks and policies work a moment after they were created.
		probe := runningPod(ctx, "payments", nil)
		Eventually(func() error {
			return send(ctx, client.NewDryRunClient(operator), probe.DeepCopy(), stub(1, "v1-0-0"))
		}, 20*time.Second, 200*time.Millisecond).Should(Succeed())
		Eventually(func() error {
			return send(ctx, client.NewDryRunClient(cluster), probe.DeepCopy(), restricted(stub(1, "v1-0-0")))
		}, 20*time.Second, 200*time.Millisecond).Should(MatchError(ContainSubstring("only the Axle operator")))
	})

	It("becomes exactly that version, in a namespace with restricted Pod Security", func(ctx context.Context) {
		pod := runningPod(ctx, "payments", nil)
		Expect(send(ctx, operator, pod, stub(1, "v1-0-0"))).To(Succeed())

		Expect(cluster.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		Expect(pod.Spec.EphemeralContainers).To(HaveLen(1))
		got := pod.Spec.EphemeralContainers[0]
		Expect(got.Name).To(Equal("axle-g1"))
		Expect(got.Image).To(Equal(image))
		Expect(got.ImagePullPolicy).To(Equal(corev1.PullIfNotPresent))
		Expect(got.Args).To(Equal([]string{"supervise"}))
		Expect(got.SecurityContext.RunAsUser).To(HaveValue(BeEquivalentTo(65532)))

		env := map[string]string{}
		for _, e := range got.Env {
			env[e.Name] = e.Value
		}
		Expect(env[bootstrap.JoinTokenEnv]).To(Equal("token(" + string(pod.UID) + " payments/" + pod.Name + " axle-g1)"))
		var boot bootstrap.Bootstrap
		Expect(json.Unmarshal([]byte(env[bootstrap.Env]), &boot)).To(Succeed())
		Expect(boot.Node).To(Equal(bootstrap.Node{
			ID: string(pod.UID), Namespace: "payments", Pod: pod.Name, IP: "10.1.2.3",
			Container: "axle-g1", Version: "v1-0-0", Generation: 1, InPlace: true,
		}))
		Expect(boot.Operator.CA).To(Equal(string(keeper.CABundle())))
		Expect(boot.Operator.Address).To(Equal("axle-operator.axle-system.svc:15010"))
	})

	It("leaves the generations before it as they are", func(ctx context.Context) {
		pod := runningPod(ctx, "payments", nil)
		Expect(send(ctx, operator, pod, stub(1, "v1-0-0"))).To(Succeed())
		Expect(cluster.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		first := pod.Spec.EphemeralContainers[0].DeepCopy()

		Expect(send(ctx, operator, pod, stub(2, "v1-0-0"))).To(Succeed())
		Expect(cluster.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		Expect(pod.Spec.EphemeralContainers).To(HaveLen(2))
		Expect(pod.Spec.EphemeralContainers[0]).To(Equal(*first))
		Expect(pod.Spec.EphemeralContainers[1].Image).To(Equal(image))
	})

	It("is denied when its version does not exist, and the sender can read why", func(ctx context.Context) {
		err := send(ctx, operator, runningPod(ctx, "payments", nil), stub(1, "v9-9-9"))
		Expect(apierrors.IsForbidden(err)).To(BeTrue(), "error is %v", err)
		Expect(err).To(MatchError(ContainSubstring(`there is no SidecarVersion "v9-9-9"`)))
		Expect(inject.Denied(err)).To(Equal([]inject.Finding{
			{Reason: inject.VersionMissing, Message: `there is no SidecarVersion "v9-9-9"`},
		}))
	})

	It("is denied while the version's tag is not resolved, and runs its digest afterwards", func(ctx context.Context) {
		pod := runningPod(ctx, "payments", nil)
		err := send(ctx, operator, pod.DeepCopy(), stub(1, "v1-1-0"))
		Expect(inject.Denied(err)).To(ContainElement(HaveField("Reason", inject.VersionUnresolved)))

		v := &v1alpha1.SidecarVersion{}
		Expect(operator.Get(ctx, types.NamespacedName{Name: "v1-1-0"}, v)).To(Succeed())
		v.Status.Digest = "sha256:" + strings.Repeat("7", 64)
		Expect(operator.Status().Update(ctx, v)).To(Succeed())
		Expect(send(ctx, operator, pod, stub(1, "v1-1-0"))).To(Succeed())
		Expect(cluster.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		Expect(pod.Spec.EphemeralContainers[0].Image).To(Equal("ghcr.io/axlemesh/axle-sidecar@" + v.Status.Digest))
	})

	It("is denied in a pod that must not have a sidecar", func(ctx context.Context) {
		pod := runningPod(ctx, "payments", func(p *corev1.Pod) {
			p.Labels = map[string]string{v1alpha1.InjectionLabel: v1alpha1.InjectionDisabled}
		})
		err := send(ctx, operator, pod, stub(1, "v1-0-0"))
		Expect(inject.Denied(err)).To(ContainElement(HaveField("Reason", inject.Disabled)))
	})

	It("is denied when it asks for more than a sidecar", func(ctx context.Context) {
		greedy := stub(1, "v1-0-0")
		greedy.Command = []string{"/bin/sh"}
		err := send(ctx, operator, runningPod(ctx, "payments", nil), greedy)
		Expect(inject.Denied(err)).To(ContainElement(HaveField("Reason", inject.BadStub)))
	})

	It("is not rendered for anyone else", func(ctx context.Context) {
		err := send(ctx, cluster, runningPod(ctx, "payments", nil), restricted(stub(1, "v1-0-0")))
		Expect(err).To(MatchError(ContainSubstring("only the Axle operator may add them")))
	})

	It("is not asked about a debugger, even while the webhook is unreachable", func(ctx context.Context) {
		probe := runningPod(ctx, "payments", nil)
		try := func(ctx context.Context) error {
			return send(ctx, client.NewDryRunClient(operator), probe.DeepCopy(), stub(1, "v1-0-0"))
		}
		hooks := &admissionv1.MutatingWebhookConfiguration{}
		Expect(cluster.Get(ctx, types.NamespacedName{Name: "axle-injector"}, hooks)).To(Succeed())
		good := *hooks.Webhooks[0].ClientConfig.URL
		hooks.Webhooks[0].ClientConfig.URL = new("https://localhost:1" + "/mutate-ephemeralcontainers")
		Expect(cluster.Update(ctx, hooks)).To(Succeed())
		DeferCleanup(func(ctx context.Context) {
			Expect(cluster.Get(ctx, types.NamespacedName{Name: "axle-injector"}, hooks)).To(Succeed())
			hooks.Webhooks[0].ClientConfig.URL = &good
			Expect(cluster.Update(ctx, hooks)).To(Succeed())
			Eventually(try, 20*time.Second, 200*time.Millisecond).WithContext(ctx).Should(Succeed())
		})
		Eventually(try, 20*time.Second, 200*time.Millisecond).WithContext(ctx).Should(MatchError(ContainSubstring("failed calling webhook")))

		debugger := corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debugger-x7k2p", Image: "busybox"}}
		Expect(send(ctx, cluster, runningPod(ctx, "payments", nil), restricted(debugger))).To(Succeed())
	})
})

var _ = Describe("the operator's certificates", Ordered, func() {
	It("are shared by the replicas", func(ctx context.Context) {
		other := newKeeper()
		Expect(other.Ready(nil)).NotTo(Succeed())
		Expect(other.Sync(ctx)).To(Succeed())
		Expect(other.Ready(nil)).To(Succeed())
		Expect(other.CABundle()).To(Equal(keeper.CABundle()))
		mine, err := keeper.GetCertificate(nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(other.GetCertificate(nil)).To(HaveField("Certificate", mine.Certificate))
	})

	It("survive replicas that start at the same moment", func(ctx context.Context) {
		replicas := make([]interface {
			Sync(context.Context) error
			CABundle() []byte
		}, 5)
		errs := make(chan error, len(replicas))
		for i := range replicas {
			r := newKeeper()
			r.Client, r.Secret.Name = cluster, "raced-for" // the operator may touch its own Secret only
			replicas[i] = r
			go func() { errs <- r.Sync(ctx) }()
		}
		for range replicas {
			Expect(<-errs).NotTo(HaveOccurred())
		}
		for _, r := range replicas {
			Expect(r.CABundle()).To(Equal(replicas[0].CABundle()))
		}
	})

	It("are told to the API server again when someone took them away", func(ctx context.Context) {
		background, stop := context.WithCancel(ctx)
		defer stop()
		quick := newKeeper()
		quick.Interval = 100 * time.Millisecond
		Expect(quick.Sync(ctx)).To(Succeed())
		done := make(chan error, 1)
		go func() { done <- quick.Start(background) }()

		hooks := &admissionv1.MutatingWebhookConfiguration{}
		Expect(cluster.Get(ctx, types.NamespacedName{Name: "axle-injector"}, hooks)).To(Succeed())
		for i := range hooks.Webhooks {
			hooks.Webhooks[i].ClientConfig.CABundle = nil
		}
		Expect(client.IgnoreNotFound(cluster.Update(ctx, hooks))).To(Or(Succeed(), MatchError(apierrors.IsConflict, "IsConflict")))
		Eventually(func(g Gomega) {
			g.Expect(cluster.Get(ctx, types.NamespacedName{Name: "axle-injector"}, hooks)).To(Succeed())
			g.Expect(hooks.Webhooks).To(HaveEach(HaveField("ClientConfig.CABundle", Equal(quick.CABundle()))))
		}, 10*time.Second, 50*time.Millisecond).Should(Succeed())
		stop()
		Eventually(done, 5*time.Second).Should(Receive(BeNil()))
	})

	It("are not replaced when they cannot be read", func(ctx context.Context) {
		name := types.NamespacedName{Namespace: "axle-system", Name: "axle-operator-tls"}
		secret := &corev1.Secret{}
		Expect(cluster.Get(ctx, name, secret)).To(Succeed())
		good := secret.DeepCopy()
		secret.Data["ca.key"] = []byte("broken")
		Expect(cluster.Update(ctx, secret)).To(Succeed())
		Expect(newKeeper().Sync(ctx)).To(MatchError(And(ContainSubstring("ca.key"), ContainSubstring("delete the Secret"))))

		Expect(cluster.Get(ctx, name, secret)).To(Succeed())
		Expect(secret.Data["ca.key"]).To(Equal([]byte("broken")))
		secret.Data = good.Data
		Expect(cluster.Update(ctx, secret)).To(Succeed())
	})
})
