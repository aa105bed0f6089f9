//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/cluster/node"
	"github.com/axlemesh/axle/hack/demo/stage"
)

// roomy is more than a pod's sidecars may hold at any time: a leak in an upgrade shows long before.
const roomy = 256 << 20

var _ = Describe("what a sidecar costs a pod", func() {
	It("is known in both ways, at rest and in an upgrade; and a log is turned on and off in both while they run", func(ctx SpecContext) {
		needsNode()
		sc := meshed(ctx, "e2e-cost")
		const slots, inplace = "cashier-1", "cashier-2"
		Expect(sc.Core().CoreV1().Pods(sc.Name).Delete(ctx, slots, metav1.DeleteOptions{})).To(Succeed())
		slotted(ctx, sc, slots)
		settled(ctx, sc, first)

		table := &bytes.Buffer{}
		fmt.Fprintf(table, "%-10s %-22s %-26s %-26s\n", "way in", "requests, all of it", "at rest: RSS (anonymous)", "upgrade's peak")
		for _, c := range []struct {
			way, pod string
			upgrade  func()
		}{
			{"slots", slots, func() { flip(ctx, sc, slots, upgrades[0]) }},
			{"in place", inplace, func() { upgradeOne(ctx, sc, inplace, upgrades[0]) }},
		} {
			Expect(pause(ctx, 5*time.Second)).To(BeTrue())
			rest := held(ctx, sc, c.pod)
			peak := highest(ctx, sc, c.pod, c.upgrade)
			fmt.Fprintf(table, "%-10s %-22s %-26s %-26s\n", c.way, requested(ctx, sc, c.pod), megabytes(rest), megabytes(peak))
			Expect(rest.Anonymous).To(BeNumerically(">", 0), c.way)
			Expect(peak.Anonymous).To(BeNumerically(">", rest.Anonymous), c.way)
			Expect(peak.Resident).To(BeNumerically("<", roomy), c.way)
		}
		AddReportEntry("cost", ReportEntryVisibilityAlways, table.String())
		p, err := sc.Core().CoreV1().Pods(sc.Name).Get(ctx, inplace, metav1.GetOptions{})
		Expect(err).NotTo(HaveOccurred())
		logged(ctx, sc, map[string]string{slots: servingSlot(ctx, sc, slots).Name, inplace: runningSidecars(p)[0]})
		Expect(sc.Leave(ctx)).To(Succeed())
	}, NodeTimeout(5*time.Minute))
})

func megabytes(m node.Memory) string {
	return fmt.Sprintf("%.1f MB (%.1f MB)", float64(m.Resident)/1e6, float64(m.Anonymous)/1e6)
}

// held is what all sidecars of a pod hold now, those that are on their way and those that are about to end included.
func held(ctx context.Context, sc *stage.Scene, name string) node.Memory {
	GinkgoHelper()
	p, err := sc.Core().CoreV1().Pods(sc.Name).Get(ctx, name, metav1.GetOptions{})
	Expect(err).NotTo(HaveOccurred())
	m, err := machine.PodMemory(ctx, string(p.UID), "axle-sidecar")
	Expect(err).NotTo(HaveOccurred())
	return m
}

// highest is the most that a pod's sidecars hold while work is done.
func highest(ctx context.Context, sc *stage.Scene, name string, work func()) (most node.Memory) {
	GinkgoHelper()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer GinkgoRecover()
		for pause(ctx, 50*time.Millisecond) {
			now := held(context.WithoutCancel(ctx), sc, name)
			most.Resident, most.Anonymous = max(most.Resident, now.Resident), max(most.Anonymous, now.Anonymous)
		}
	})
	defer wg.Wait()
	defer cancel()
	work()
	return most
}

// requested adds up the requests of a pod's sidecar containers.
func requested(ctx context.Context, sc *stage.Scene, name string) string {
	GinkgoHelper()
	p, err := sc.Core().CoreV1().Pods(sc.Name).Get(ctx, name, metav1.GetOptions{})
	Expect(err).NotTo(HaveOccurred())
	var cpu, memory resource.Quantity
	for _, c := range p.Spec.InitContainers {
		if strings.HasPrefix(c.Name, axlev1.ContainerPrefix) {
			cpu.Add(c.Resources.Requests[corev1.ResourceCPU])
			memory.Add(c.Resources.Requests[corev1.ResourceMemory])
		}
	}
	return cpu.String() + ", " + memory.String()
}
