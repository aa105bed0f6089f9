package config_test

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecarfleet"
)

var _ = Describe("pods that pull images", Ordered, func() {
	made := 0
	create := func(ctx context.Context, change func(*corev1.Pod)) error {
		made++
		v := &v1alpha1.SidecarVersion{ObjectMeta: metav1.ObjectMeta{Name: "v2", UID: "0e5a3c52-0000-4000-8000-000000000000"}}
		pod := sidecarfleet.PullPod("axle-system", "default", fmt.Sprintf("node-%d", made), allowed, v)
		if change != nil {
			change(pod)
		}
		err := operator.Create(ctx, pod)
		if err == nil {
			DeferCleanup(operator.Delete, pod, client.GracePeriodSeconds(0))
		}
		return err
	}

	BeforeAll(func(ctx context.Context) {
		for _, ns := range []string{"axle-system", "pulls"} {
			space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}
			Expect(client.IgnoreAlreadyExists(cluster.Create(ctx, space))).To(Succeed())
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: ns}}
			Expect(client.IgnoreAlreadyExists(cluster.Create(ctx, account))).To(Succeed())
		}
		Eventually(func() error { // a policy works a moment after it was created
			return create(ctx, func(p *corev1.Pod) { p.Spec.Containers[0].Args = []string{"supervise"} })
		}, 20*time.Second, 200*time.Millisecond).Should(MatchError(ContainSubstring("axle-operator-creates-pulls-only")))
	})

	It("may be created by the operator, and taken away", func(ctx context.Context) {
		Expect(create(ctx, nil)).To(Succeed())
	})

	DescribeTable("may be nothing else", func(ctx context.Context, change func(*corev1.Pod), says string) {
		Expect(create(ctx, change)).To(MatchError(ContainSubstring(says)))
	},
		Entry("in another namespace", func(p *corev1.Pod) { p.Namespace = "pulls" }, "forbidden"),
		Entry("by another name", func(p *corev1.Pod) { p.Name = "mine" }, "named axle-prepull-*"),
		Entry("with a volume", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
		}, "no volumes"),
		Entry("with a token", func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = new(true) }, "no token"),
		Entry("on the node's network", func(p *corev1.Pod) { p.Spec.HostNetwork = true }, "nothing of its node"),
		Entry("with two containers", func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, *p.Spec.Containers[0].DeepCopy())
			p.Spec.Containers[1].Name = "more"
		}, "one container"),
		Entry("with a command", func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"sh"} }, "nothing else"),
		Entry("with other arguments", func(p *corev1.Pod) { p.Spec.Containers[0].Args = []string{"supervise"} }, "nothing else"),
		Entry("from another repository", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "evil" + digest }, "allowed repositories"),
		Entry("by a tag", func(p *corev1.Pod) { p.Spec.Containers[0].Image = repository + ":v1" }, "allowed repositories"),
		Entry("as root", func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext.RunAsUser = new(int64(0)) }, "no more rights"),
		Entry("with privileges", func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext.Privileged = new(true)
			p.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = new(true)
		}, "no more rights"),
	)
})
