//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/demo/stage"
)

// slotFlipped is the step at which a slot has the next image, and its new supervisor has not connected.
func slotFlipped(p *corev1.Pod, d *axlev1.PodDesired, st *axlev1.PodStatus) bool {
	return d.Predecessor != 0 && !d.Begin && st.Candidate != d.Generation && slices.ContainsFunc(p.Spec.InitContainers, func(c corev1.Container) bool {
		return strings.Contains(c.Image, fmt.Sprintf(":g%d@", d.Generation))
	})
}

var _ = Describe("a rollout in pods with slots", func() {
	It("survives the death of every operator at each of its steps, a restart of the kubelet and one of the apiserver, and nobody notices", func(ctx SpecContext) {
		needsNode()
		a := &accidentProne{Scene: replaced(ctx, meshed(ctx, "e2e-slot-steps")), moments: []moment{
			{"the image is patched", slotFlipped, killOperator},
			{"the candidate has connected", candidateConnected, replaceOperator},
			{"begin is written", beginWritten, killOperator},
			{"the handover runs", handoverRunning, replaceOperator},
			{"the handover is over", handoverDone, killOperator},
			{"the image is patched, and the kubelet restarts", slotFlipped, plainly(machine.RestartKubelet)},
			{"the image is patched, and the apiserver is away", slotFlipped, plainly(func(ctx context.Context) error {
				return machine.CrashAPIServer(ctx, 10*time.Second)
			})},
		}}
		before := settled(ctx, a.Scene, first)
		for i, m := range a.moments {
			version := upgrades[i%len(upgrades)]
			Expect(a.Upgrade(ctx, version)).To(Succeed(), m.name)
			after := settled(ctx, a.Scene, version)
			Expect(noticed(before, after)).To(BeEmpty(), m.name)
			inSlots(ctx, a.Scene, version)
		}
		Expect(a.happened).To(HaveLen(len(a.moments)))
		Expect(a.Leave(ctx)).To(Succeed())
	}, NodeTimeout(12*time.Minute))
})

var _ = Describe("a node with slot pods that is rebooted", func() {
	It("comes back with one serving slot in each pod, with the version that it had, and the next rollout is like any other", func(ctx SpecContext) {
		needsNode()
		sc := replaced(ctx, meshed(ctx, "e2e-slot-reboot"))
		settled(ctx, sc, first)
		Expect(sc.Upgrade(ctx, "v1-1-0")).To(Succeed())
		settled(ctx, sc, "v1-1-0")
		inSlots(ctx, sc, "v1-1-0")
		start := time.Now()
		Expect(machine.Reboot(ctx)).To(Succeed())
		settled(ctx, sc, "v1-1-0")
		took := time.Since(start)
		inSlots(ctx, sc, "v1-1-0")
		By("nothing fails any more once the operator and the endpoints of the restarted pods are back, too")
		back := calmed(ctx, sc, 5*time.Second)
		called := time.Since(start)
		Expect(sc.Upgrade(ctx, "v1-2-0")).To(Succeed())
		after := settled(ctx, sc, "v1-2-0")
		Expect(noticed(back, after)).To(BeEmpty())
		inSlots(ctx, sc, "v1-2-0")
		AddReportEntry("reboot", ReportEntryVisibilityAlways, fmt.Sprintf("all pods are served again, with the same version, %v after the power failure; at %v nothing had failed for 5s\n"+
			"clients since their start: %s", took.Round(100*time.Millisecond), called.Round(100*time.Millisecond), tally(back)))
		Expect(sc.Leave(ctx)).To(Succeed())
	}, NodeTimeout(8*time.Minute))
})

// replaced replaces every pod of a scene, so that all of them are created with slots.
func replaced(ctx context.Context, sc *stage.Scene) *stage.Scene {
	GinkgoHelper()
	before, err := sc.Observe(ctx)
	Expect(err).NotTo(HaveOccurred())
	pods := sc.Core().CoreV1().Pods(sc.Name)
	for _, p := range before.Pods {
		Expect(pods.Delete(ctx, p.Name, metav1.DeleteOptions{})).To(Succeed())
	}
	inSlots(ctx, sc, first)
	return sc
}

// inSlots waits until every pod of a scene has slots that agree with what is wanted: one of them serves with version, both
// run, and nothing is on its way.
func inSlots(ctx context.Context, sc *stage.Scene, version string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		pods, err := sc.Core().CoreV1().Pods(sc.Name).List(ctx, metav1.ListOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(pods.Items).To(HaveLen(stage.Pods))
		for i := range pods.Items {
			g.Expect(slotContradictions(&pods.Items[i], version)).To(BeEmpty())
		}
	}).WithTimeout(3 * time.Minute).WithPolling(500 * time.Millisecond).Should(Succeed())
}

// slotContradictions lists what does not fit together in a pod with slots.
func slotContradictions(p *corev1.Pod, version string) []string {
	slots, err := axlev1.ParseSlots(p.Annotations)
	if err != nil || slots == nil {
		return []string{fmt.Sprintf("%s: slots are %v, %v", p.Name, slots, err)}
	}
	d, derr := axlev1.ParseDesired(p.Annotations)
	st, serr := axlev1.ParseStatus(p.Annotations)
	if derr != nil || serr != nil || d == nil || st == nil {
		return []string{fmt.Sprintf("%s: desired is %v, %v, status is %v, %v", p.Name, d, derr, st, serr)}
	}
	var out []string
	if d.Version != version || st.Version != version || st.Phase != axlev1.PhaseServing || st.Candidate != 0 ||
		d.Generation != st.Generation || d.Predecessor != 0 || d.Begin || d.Leave || d.Failed != nil {
		out = append(out, fmt.Sprintf("%s: want %s, desired is %+v, status is %+v", p.Name, version, *d, *st))
	}
	for _, c := range p.Status.InitContainerStatuses {
		if c.State.Running == nil {
			out = append(out, fmt.Sprintf("%s: %s does not run", p.Name, c.Name))
		}
	}
	if len(p.Spec.EphemeralContainers) > 0 {
		out = append(out, p.Name+" has ephemeral containers")
	}
	return out
}
