//go:build e2e

package e2e

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/demo/stage"
	"github.com/axlemesh/axle/hack/demo/story"
)

var _ = Describe("a pod that is deleted during its handover", func() {
	It("is no failure of the rollout, and nobody else notices", func(ctx SpecContext) {
		sc := meshed(ctx, "e2e-deleted")
		victim := "cashier-1"
		var last story.Observation
		deleted := deleteInHandover(ctx, sc, victim)
		Expect(sc.Upgrade(ctx, "v1-1-0")).To(Succeed())
		uid := ""
		Eventually(ctx, deleted).WithTimeout(3 * time.Minute).Should(Receive(&uid))
		By("the pod that replaces it and all others get the new version")
		Eventually(ctx, func(g Gomega) {
			o, err := sc.Observe(ctx)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(o.Pods).To(HaveLen(stage.Pods))
			g.Expect(serving(o, "v1-1-0")).To(Equal(stage.Pods))
			g.Expect(pod(o, victim).UID).NotTo(Equal(uid))
			last = o
		}).WithTimeout(3 * time.Minute).WithPolling(time.Second).Should(Succeed())
		Expect(noticed(story.Observation{}, last, victim)).To(BeEmpty())
		fleet := &axlev1.SidecarFleet{}
		Expect(sc.Kinds().Get(ctx, client.ObjectKey{Name: stage.FleetName}, fleet)).To(Succeed())
		Expect(meta.IsStatusConditionTrue(fleet.Status.Conditions, axlev1.ConditionDegraded)).To(BeFalse())
		Expect(fleet.Status.Pods.Failed).To(BeZero())
		Expect(sc.Leave(ctx)).To(Succeed())
	}, NodeTimeout(8*time.Minute))
})

// deleteInHandover watches a pod and deletes it, without grace, at the moment its handover has been told to begin. The
// channel gives the UID of the pod that was deleted.
func deleteInHandover(ctx context.Context, sc *stage.Scene, name string) <-chan string {
	GinkgoHelper()
	pods := sc.Core().CoreV1().Pods(sc.Name)
	w, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	Expect(err).NotTo(HaveOccurred())
	deleted := make(chan string, 1)
	go func() {
		defer GinkgoRecover()
		defer w.Stop()
		for ev := range w.ResultChan() {
			p, ok := ev.Object.(*corev1.Pod)
			if !ok || ev.Type != watch.Modified {
				continue
			}
			d, err := axlev1.ParseDesired(p.Annotations)
			Expect(err).NotTo(HaveOccurred())
			if d == nil || !d.Begin || d.Predecessor == 0 {
				continue
			}
			Expect(pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})).To(Succeed())
			deleted <- string(p.UID)
			return
		}
	}()
	return deleted
}
