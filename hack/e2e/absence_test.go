//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/demo/stage"
	"github.com/axlemesh/axle/hack/demo/story"
)

const (
	operatorName = "axle-operator"
	// repaired is how long a missed pod may wait for its sidecar once an operator is ready again, its election included.
	repaired = 30 * time.Second
)

var _ = Describe("a pod that is created while no operator runs", func() {
	It("starts without a sidecar, and gets one in place when the operator is back", func(ctx SpecContext) {
		sc := meshed(ctx, "e2e-absent")
		const victim = "cashier-2"
		before, err := sc.Observe(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(scaleOperator, int32(2))
		scaleOperator(ctx, 0)

		By("the pod is created and becomes ready")
		start := time.Now()
		pods := sc.Core().CoreV1().Pods(sc.Name)
		Expect(pods.Delete(ctx, victim, metav1.DeleteOptions{})).To(Succeed())
		var p *corev1.Pod
		Eventually(ctx, func(g Gomega) {
			var err error
			p, err = pods.Get(ctx, victim, metav1.GetOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(p.UID)).NotTo(Equal(pod(before, victim).UID))
			g.Expect(isReady(p)).To(BeTrue())
		}).WithTimeout(time.Minute).WithPolling(200 * time.Millisecond).Should(Succeed())
		took := time.Since(start)
		Expect(axleContainers(p)).To(BeEmpty())
		alone, err := sc.Observe(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(noticed(story.Observation{}, alone, victim)).To(BeEmpty())

		By("the operator comes back")
		scaleOperator(ctx, 2)
		start = time.Now()
		Eventually(ctx, func(g Gomega) {
			p, err := pods.Get(ctx, victim, metav1.GetOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(contradictions(p, first)).To(BeEmpty())
		}).WithTimeout(repaired).WithPolling(200 * time.Millisecond).Should(Succeed())
		fixed := time.Since(start)
		after := settled(ctx, sc, first)
		Expect(noticed(story.Observation{}, after, victim)).To(BeEmpty())
		Expect(noticed(alone, after)).To(BeEmpty(), "the new pod's calls move to its sidecar like all others")
		consistent(ctx, sc, first)
		Expect(sc.Leave(ctx)).To(Succeed())
		AddReportEntry("absence", ReportEntryVisibilityAlways, fmt.Sprintf(
			"without an operator the pod was replaced and ready after %v; its sidecar serves %v after the operator was ready again",
			took.Round(100*time.Millisecond), fixed.Round(100*time.Millisecond)))
	}, NodeTimeout(6*time.Minute))
})

// scaleOperator gives the operator so many replicas and waits until exactly those are there, and ready.
func scaleOperator(ctx context.Context, replicas int32) {
	GinkgoHelper()
	deployments := theater.Core().AppsV1().Deployments(theater.Namespace())
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	_, err := deployments.Patch(ctx, operatorName, types.MergePatchType, patch, metav1.PatchOptions{})
	Expect(err).NotTo(HaveOccurred())
	Eventually(ctx, func(g Gomega) {
		pods, err := theater.Core().CoreV1().Pods(theater.Namespace()).List(ctx, metav1.ListOptions{LabelSelector: operatorPods})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(pods.Items).To(HaveLen(int(replicas)))
		for i := range pods.Items {
			g.Expect(isReady(&pods.Items[i])).To(BeTrue(), pods.Items[i].Name)
		}
	}).WithTimeout(stage.Patience).WithPolling(200 * time.Millisecond).Should(Succeed())
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// axleContainers names everything in a pod that is Axle's.
func axleContainers(p *corev1.Pod) []string {
	var out []string
	add := func(name string) {
		if strings.HasPrefix(name, axlev1.ContainerPrefix) {
			out = append(out, name)
		}
	}
	for _, c := range append(p.Spec.InitContainers, p.Spec.Containers...) {
		add(c.Name)
	}
	for _, c := range p.Spec.EphemeralContainers {
		add(c.Name)
	}
	return out
}
