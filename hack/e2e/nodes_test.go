//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/axlemesh/axle/hack/demo/stage"
	"github.com/axlemesh/axle/hack/demo/story"
)

// recovery is how long a node's pods may take to be back, and their sidecars with them.
const recovery = 2 * time.Minute

var _ = Describe("a node that is rebooted", func() {
	It("comes back with its pods, they get their sidecars again, and nobody has to help", func(ctx SpecContext) {
		needsNode()
		sc := meshed(ctx, "e2e-reboot")
		before, err := sc.Observe(ctx)
		Expect(err).NotTo(HaveOccurred())
		start := time.Now()
		Expect(machine.Reboot(ctx)).To(Succeed())
		up := time.Since(start)
		back := returned(ctx, sc, before, func(string) bool { return true })
		took := time.Since(start)
		consistent(ctx, sc, first)
		By("what the clients see from then on is nothing")
		back, err = sc.Observe(ctx)
		Expect(err).NotTo(HaveOccurred())
		calm(ctx, sc, back, 10*time.Second)
		By("the next rollout is like any other")
		Expect(sc.Upgrade(ctx, "v1-1-0")).To(Succeed())
		after := settled(ctx, sc, "v1-1-0")
		Expect(noticed(back, after)).To(BeEmpty())
		consistent(ctx, sc, "v1-1-0")
		Expect(sc.Leave(ctx)).To(Succeed())
		AddReportEntry("reboot", ReportEntryVisibilityAlways, fmt.Sprintf(
			"the kubelet answers after %v, all %d pods are served and all %d connections go through sidecars after %v\n"+
				"clients since their start: %s",
			up.Round(100*time.Millisecond), stage.Pods, stage.Connections, took.Round(100*time.Millisecond), tally(back)))
	}, NodeTimeout(8*time.Minute))
})

var _ = Describe("a pod whose sandbox is made anew", func() {
	DescribeTable("gets another sidecar, and only its own calls are disturbed",
		func(ctx SpecContext, name, prefix string, judge func(before, after story.Observation, victim string)) {
			needsNode()
			sc := meshed(ctx, name)
			before, err := sc.Observe(ctx)
			Expect(err).NotTo(HaveOccurred())
			victim := ""
			for _, p := range before.Pods {
				if len(p.Name) >= len(prefix) && p.Name[:len(prefix)] == prefix {
					victim = p.Name
				}
			}
			start := time.Now()
			Expect(loseSandbox(ctx, sc, victim)).To(Succeed())
			after := returned(ctx, sc, before, func(pod string) bool { return pod == victim })
			took := time.Since(start)
			consistent(ctx, sc, first)
			judge(before, after, victim)
			last, err := sc.Observe(ctx)
			Expect(err).NotTo(HaveOccurred())
			calm(ctx, sc, last, 5*time.Second)
			Expect(sc.Leave(ctx)).To(Succeed())
			AddReportEntry("sandbox", ReportEntryVisibilityAlways, fmt.Sprintf("%s is served again after %v; clients since their start: %s",
				victim, took.Round(100*time.Millisecond), tally(last)))
		},
		Entry("a client: the others notice nothing at all", NodeTimeout(5*time.Minute), "e2e-sandbox-client", "cashier-1",
			func(before, after story.Observation, victim string) {
				Expect(noticed(before, after, victim)).To(BeEmpty())
			}),
		Entry("a server: what it was working on is lost, and no client's connection", NodeTimeout(5*time.Minute), "e2e-sandbox-server", "ledger-",
			func(before, after story.Observation, _ string) {
				for _, p := range after.Pods {
					if p.Client != nil {
						r := p.Client.Report
						Expect([]int64{r.Resets, r.Reconnects, r.Duplicates}).To(Equal([]int64{0, 0, 0}), "%s: %v", p.Name, r.Notes)
					}
				}
			}),
	)
})

// loseSandbox kills the process that holds a pod's namespaces.
func loseSandbox(ctx context.Context, sc *stage.Scene, name string) error {
	p, err := sc.Core().CoreV1().Pods(sc.Name).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	var ids []string
	for _, c := range append(p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses...) {
		ids = append(ids, c.ContainerID)
	}
	return machine.KillSandbox(ctx, string(p.UID), ids...)
}

// returned waits until all pods are served again, and through sidecars, after the victims among them were restarted: once
// each, the same pods as before. The others were not restarted.
func returned(ctx context.Context, sc *stage.Scene, before story.Observation, isVictim func(pod string) bool) story.Observation {
	GinkgoHelper()
	var o story.Observation
	Eventually(ctx, func(g Gomega) {
		var err error
		o, err = sc.Observe(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(o.Pods).To(HaveLen(stage.Pods))
		for _, p := range o.Pods {
			restarts := pod(before, p.Name).Restarts
			if isVictim(p.Name) {
				restarts++
			}
			g.Expect(p.Restarts).To(Equal(restarts), "restarts of %s", p.Name)
			g.Expect(p.UID).To(Equal(pod(before, p.Name).UID), p.Name)
		}
		g.Expect(serving(o, first)).To(Equal(stage.Pods), "pods that are served")
		g.Expect(viaMesh(o)).To(Equal(stage.Connections), "connections through sidecars")
	}).WithTimeout(recovery).WithPolling(500 * time.Millisecond).Should(Succeed())
	return o
}

// tally adds up what the clients counted.
func tally(o story.Observation) string {
	var requests, failed, resets, reconnects, duplicates int64
	reasons := map[string]int64{}
	for _, p := range o.Pods {
		if p.Client == nil {
			continue
		}
		requests += p.Client.Requests
		failed += p.Client.Failed
		resets += p.Client.Resets
		reconnects += p.Client.Reconnects
		duplicates += p.Client.Duplicates
		for why, n := range p.Client.Reasons {
			reasons[why] += n
		}
	}
	return fmt.Sprintf("requests=%d failed=%d %v resets=%d reconnects=%d duplicates=%d", requests, failed, reasons, resets, reconnects, duplicates)
}
