//go:build e2e

package e2e

import (
	"context"
	"fmt"
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
	"github.com/axlemesh/axle/hack/peers/boltclient"
	"github.com/axlemesh/axle/hack/peers/meshstate"
)

// serving counts the pods whose sidecar serves with version.
func serving(o story.Observation, version string) int {
	n := 0
	for _, p := range o.Pods {
		if p.Mesh.State.State == meshstate.Serving && p.Mesh.Version == version {
			n++
		}
	}
	return n
}

// killer is a scene whose operator dies in the middle of every rollout.
type killer struct {
	*stage.Scene
	kills int
}

// Upgrade patches the fleet, waits until some pods have the new version and others not, and kills every operator pod.
func (k *killer) Upgrade(ctx context.Context, version string) error {
	if err := k.Scene.Upgrade(ctx, version); err != nil {
		return err
	}
	for {
		o, err := k.Observe(ctx)
		if err != nil {
			return err
		}
		if n := serving(o, version); n == len(o.Pods) {
			return fmt.Errorf("the rollout of %s was over before the operator could be killed", version)
		} else if n > 0 {
			break
		}
		if !pause(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
	k.kills++
	return k.Core().CoreV1().Pods(k.Namespace()).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))},
		metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=operator"})
}

var _ = Describe("an operator that is killed in the middle of a rollout", func() {
	It("goes on where it was, and nobody notices", func(ctx SpecContext) {
		k := &killer{Scene: open(ctx, "e2e-operator")}
		v := tell(ctx, k.Scene, 5*time.Second, k, "v1-1-0")
		Expect(v.Why).To(BeEmpty())
		Expect(k.kills).To(Equal(1))
	}, NodeTimeout(8*time.Minute))
})

var _ = Describe("a pod that is deleted during its handover", func() {
	It("is no failure of the rollout, and nobody else notices", func(ctx SpecContext) {
		sc := open(ctx, "e2e-deleted")
		Expect(sc.Join(ctx)).To(Succeed())
		Eventually(ctx, func(g Gomega) {
			o, err := sc.Observe(ctx)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(serving(o, first)).To(Equal(stage.Pods))
			g.Expect(viaMesh(o)).To(Equal(stage.Connections))
		}).WithTimeout(3 * time.Minute).WithPolling(time.Second).Should(Succeed())

		victim, others := "cashier-1", map[string]boltclient.Report{}
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
			for _, p := range o.Pods {
				if p.Name == victim {
					g.Expect(p.UID).NotTo(Equal(uid))
				} else if p.Client != nil {
					others[p.Name] = p.Client.Report
				}
			}
		}).WithTimeout(3 * time.Minute).WithPolling(time.Second).Should(Succeed())
		Expect(others).To(HaveLen(2))
		for name, r := range others {
			Expect([]int64{r.Failed, r.Resets, r.Reconnects, r.Duplicates}).To(Equal([]int64{0, 0, 0, 0}), "%s: %v", name, r.Notes)
		}
		fleet := &axlev1.SidecarFleet{}
		Expect(sc.Kinds().Get(ctx, client.ObjectKey{Name: stage.FleetName}, fleet)).To(Succeed())
		Expect(meta.IsStatusConditionTrue(fleet.Status.Conditions, axlev1.ConditionDegraded)).To(BeFalse())
		Expect(fleet.Status.Pods.Failed).To(BeZero())
		Expect(sc.Leave(ctx)).To(Succeed())
	}, NodeTimeout(8*time.Minute))
})

func viaMesh(o story.Observation) int {
	n := 0
	for _, p := range o.Pods {
		if p.Client != nil {
			n += p.Client.Via[boltclient.Mesh]
		}
	}
	return n
}

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
