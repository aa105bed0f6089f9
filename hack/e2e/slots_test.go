//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/demo/stage"
	"github.com/axlemesh/axle/hack/peers/wire"
)

const (
	flips = 20
	// ledgerMeshPort is where the sidecar of a ledger's pod listens for Bolt.
	ledgerMeshPort = 15200
)

var _ = Describe("a pod with slots that is upgraded again and again", func() {
	It("is ready all the time, restarts one container a flip, never waits for the kubelet's back-off, and loses nothing", func(ctx SpecContext) {
		sc := meshed(ctx, "e2e-flips")
		const name = "cashier-1"
		pods := sc.Core().CoreV1().Pods(sc.Name)
		Expect(pods.Delete(ctx, name, metav1.DeleteOptions{})).To(Succeed())
		slotted(ctx, sc, name)
		before := settled(ctx, sc, first)
		p, err := pods.Get(ctx, name, metav1.GetOptions{})
		Expect(err).NotTo(HaveOccurred())
		watched := watchSlots(ctx, sc, p)
		start, restarts := time.Now(), slotRestarts(p)
		Expect(restarts).To(BeZero())
		var took []string
		for i := range flips {
			began := time.Now()
			flip(ctx, sc, name, upgrades[i%2])
			took = append(took, time.Since(began).Round(10*time.Millisecond).String())
		}
		total := time.Since(start)
		Expect(strings.Join(watched(), "\n")).To(BeEmpty())
		p, err = pods.Get(ctx, name, metav1.GetOptions{})
		Expect(err).NotTo(HaveOccurred())
		Expect(slotRestarts(p)).To(BeEquivalentTo(flips), "restarts of both slots together")
		for _, st := range p.Status.ContainerStatuses {
			Expect(st.RestartCount).To(BeZero(), st.Name)
		}
		after, err := sc.Observe(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(noticed(before, after)).To(BeEmpty())
		Expect(pod(after, name).Client.Connections).To(Equal(pod(before, name).Client.Connections), "the sockets")
		AddReportEntry("flips", ReportEntryVisibilityAlways, fmt.Sprintf("%d upgrades in %v: %s", flips, total.Round(100*time.Millisecond), strings.Join(took, " ")))
		Expect(sc.Leave(ctx)).To(Succeed())
	}, NodeTimeout(8*time.Minute))
})

var _ = Describe("a slot that serves and is killed", func() {
	It("is replaced by the other one, and no new connection is refused", func(ctx SpecContext) {
		needsNode()
		sc := meshed(ctx, "e2e-killed-slot")
		Expect(sc.Scale(ctx, 1)).To(Succeed())
		name := ""
		Eventually(ctx, func(g Gomega) {
			pods, err := sc.Core().CoreV1().Pods(sc.Name).List(ctx, metav1.ListOptions{LabelSelector: "version=v2"})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(pods.Items).To(HaveLen(1))
			name = pods.Items[0].Name
		}).WithTimeout(time.Minute).WithPolling(200 * time.Millisecond).Should(Succeed())
		slotted(ctx, sc, name)
		before := settled(ctx, sc, first)
		p, err := sc.Core().CoreV1().Pods(sc.Name).Get(ctx, name, metav1.GetOptions{})
		Expect(err).NotTo(HaveOccurred())

		var said []string
		for range 2 { // the first slot, then the other one
			victim := servingSlot(ctx, sc, name)
			k := knock(ctx, net.JoinHostPort(p.Status.PodIP, fmt.Sprint(ledgerMeshPort)))
			Expect(pause(ctx, time.Second)).To(BeTrue())
			killed := time.Now()
			Expect(machine.KillContainer(ctx, victim.ContainerID)).To(Succeed())
			Eventually(ctx, k.answeredSince).WithArguments(killed.Add(time.Second)).WithTimeout(20 * time.Second).Should(BeNumerically(">", 50))
			said = append(said, fmt.Sprintf("%s: %s", victim.Name, k.end()))
			Expect(k.answered).NotTo(BeEmpty())
			Expect(k.refused).To(BeEmpty(), "connections that were refused or that nobody answered")
			Eventually(ctx, func() string { return servingSlot(ctx, sc, name).Name }).WithTimeout(time.Minute).WithPolling(200 * time.Millisecond).
				ShouldNot(Equal(victim.Name))
			healthy(ctx, sc, name)
		}
		after := settled(ctx, sc, first)
		for _, p := range after.Pods {
			if p.Client != nil { // what the killed process was working on is lost, and no client's connection
				r := p.Client.Report
				Expect([]int64{r.Resets, r.Reconnects, r.Duplicates}).To(Equal([]int64{0, 0, 0}), "%s: %v", p.Name, r.Notes)
			}
		}
		calm(ctx, sc, after, 5*time.Second)
		AddReportEntry("kills", ReportEntryVisibilityAlways, fmt.Sprintf("%s\nclients: before %s\n         after  %s",
			strings.Join(said, "\n"), tally(before), tally(after)))
		Expect(sc.Leave(ctx)).To(Succeed())
	}, NodeTimeout(8*time.Minute))
})

// slotted waits until a pod of that name has slots and one of them serves.
func slotted(ctx context.Context, sc *stage.Scene, name string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		p, err := sc.Core().CoreV1().Pods(sc.Name).Get(ctx, name, metav1.GetOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(p.DeletionTimestamp).To(BeNil())
		slots, err := axlev1.ParseSlots(p.Annotations)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(slots).NotTo(BeNil())
		g.Expect(p.Spec.EphemeralContainers).To(BeEmpty())
		st, err := axlev1.ParseStatus(p.Annotations)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(st).NotTo(BeNil())
		g.Expect(st.Generation).To(Equal(slots.Serving))
		g.Expect(isReady(p)).To(BeTrue())
	}).WithTimeout(time.Minute).WithPolling(200 * time.Millisecond).Should(Succeed())
}

// healthy waits until both slots of a pod run and the pod is ready.
func healthy(ctx context.Context, sc *stage.Scene, name string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		p, err := sc.Core().CoreV1().Pods(sc.Name).Get(ctx, name, metav1.GetOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(isReady(p)).To(BeTrue())
		for _, c := range p.Status.InitContainerStatuses {
			g.Expect(c.State.Running).NotTo(BeNil(), c.Name)
		}
	}).WithTimeout(time.Minute).WithPolling(200 * time.Millisecond).Should(Succeed())
}

// servingSlot is the container of the slot that serves, by what the sidecar reported last.
func servingSlot(ctx context.Context, sc *stage.Scene, name string) corev1.ContainerStatus {
	GinkgoHelper()
	p, err := sc.Core().CoreV1().Pods(sc.Name).Get(ctx, name, metav1.GetOptions{})
	Expect(err).NotTo(HaveOccurred())
	slots, err := axlev1.ParseSlots(p.Annotations)
	Expect(err).NotTo(HaveOccurred())
	st, err := axlev1.ParseStatus(p.Annotations)
	Expect(err).NotTo(HaveOccurred())
	slot := axlev1.SlotA
	if slots.B.Generation == st.Generation {
		slot = axlev1.SlotB
	} else {
		Expect(slots.A.Generation).To(Equal(st.Generation), "%+v, %+v", *slots, *st)
	}
	for _, c := range p.Status.InitContainerStatuses {
		if c.Name == slot {
			return c
		}
	}
	Fail(fmt.Sprintf("%s has no status of its container %s", name, slot))
	return corev1.ContainerStatus{}
}

func slotRestarts(p *corev1.Pod) int32 {
	var n int32
	for _, c := range p.Status.InitContainerStatuses {
		if c.Name == axlev1.SlotA || c.Name == axlev1.SlotB {
			n += c.RestartCount
		}
	}
	return n
}

// flip pins a pod to version and waits until that serves and nothing is left to do.
func flip(ctx context.Context, sc *stage.Scene, name, version string) {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(ctx, wearOne)
	defer cancel()
	pods := sc.Core().CoreV1().Pods(sc.Name)
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, axlev1.PinVersionAnnotation, version)
	p, err := pods.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	Expect(err).NotTo(HaveOccurred())
	w, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name, ResourceVersion: p.ResourceVersion})
	Expect(err).NotTo(HaveOccurred())
	defer w.Stop()
	last := ""
	for ev := range w.ResultChan() {
		p, ok := ev.Object.(*corev1.Pod)
		if !ok {
			continue
		}
		d, err := axlev1.ParseDesired(p.Annotations)
		Expect(err).NotTo(HaveOccurred())
		st, err := axlev1.ParseStatus(p.Annotations)
		Expect(err).NotTo(HaveOccurred())
		Expect(d.Failed).To(BeNil())
		last = fmt.Sprintf("desired %+v, status %+v", *d, *st)
		if d.Version == version && st.Version == version && st.Phase == axlev1.PhaseServing && d.Generation == st.Generation && d.Predecessor == 0 {
			return
		}
	}
	Fail(fmt.Sprintf("%s did not get %s within %v: %s", name, version, wearOne, last))
}

// watchSlots watches a pod until the result is called, which lists everything that was wrong meanwhile: a moment without
// readiness, or a slot that waited for the kubelet's back-off.
func watchSlots(ctx context.Context, sc *stage.Scene, from *corev1.Pod) func() []string {
	GinkgoHelper()
	w, err := sc.Core().CoreV1().Pods(sc.Name).Watch(ctx, metav1.ListOptions{
		FieldSelector: "metadata.name=" + from.Name, ResourceVersion: from.ResourceVersion,
	})
	Expect(err).NotTo(HaveOccurred())
	var wrong []string
	over := make(chan struct{})
	stopped := false
	var mu sync.Mutex
	go func() {
		defer close(over)
		for ev := range w.ResultChan() {
			p, ok := ev.Object.(*corev1.Pod)
			if !ok || ev.Type == watch.Error {
				continue
			}
			if !isReady(p) {
				wrong = append(wrong, notReady(p))
			}
			for _, c := range p.Status.InitContainerStatuses {
				if c.State.Waiting != nil && strings.Contains(c.State.Waiting.Reason, "BackOff") {
					wrong = append(wrong, fmt.Sprintf("%s: %s: %s", c.Name, c.State.Waiting.Reason, c.State.Waiting.Message))
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			wrong = append(wrong, "the watch ended before its time")
		}
	}()
	return func() []string {
		mu.Lock()
		stopped = true
		mu.Unlock()
		w.Stop()
		<-over
		return wrong
	}
}

// notReady says why a pod is not ready, and what its slots are doing.
func notReady(p *corev1.Pod) string {
	why := fmt.Sprintf("%s %s was not ready:", time.Now().Format("15:04:05.000"), p.Name)
	for _, c := range p.Status.Conditions {
		if c.Status != corev1.ConditionTrue && c.Reason != "" {
			why += fmt.Sprintf(" %s (%s: %s)", c.Type, c.Reason, c.Message)
		}
	}
	for _, c := range p.Status.InitContainerStatuses {
		why += fmt.Sprintf("; %s ready=%v started=%v restarts=%d %s", c.Name, c.Ready, c.Started != nil && *c.Started, c.RestartCount, c.State.String())
	}
	return why
}

// knocker opens one connection after the other and asks for a heartbeat on each.
type knocker struct {
	cancel context.CancelFunc
	over   chan struct{}

	mu       sync.Mutex
	answered []time.Time // when the connections were opened that got their answer
	broken   []time.Time // and those that ended before it, which the killed process had accepted
	refused  []string    // and those that could not be opened, or that nobody answered
}

// knock starts to open connections to address from the node, some hundred a second.
func knock(ctx context.Context, address string) *knocker {
	ctx, cancel := context.WithCancel(ctx)
	k := &knocker{cancel: cancel, over: make(chan struct{})}
	go func() {
		defer close(k.over)
		var wg sync.WaitGroup
		defer wg.Wait()
		for pause(ctx, 4*time.Millisecond) {
			wg.Go(func() { k.one(context.WithoutCancel(ctx), address) })
		}
	}()
	return k
}

func (k *knocker) one(ctx context.Context, address string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	start := time.Now()
	err := heartbeat(ctx, address)
	k.mu.Lock()
	defer k.mu.Unlock()
	var op *net.OpError
	switch {
	case err == nil:
		k.answered = append(k.answered, start)
	case errors.As(err, &op) && op.Op != "dial" && !op.Timeout(), strings.Contains(err.Error(), "EOF"):
		k.broken = append(k.broken, start)
	default:
		k.refused = append(k.refused, fmt.Sprintf("%s: %v", start.Format("15:04:05.000"), err))
	}
}

// heartbeat opens a connection, sends a heartbeat and waits for its answer.
func heartbeat(ctx context.Context, address string) error {
	conn, err := machine.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := conn.Write(wire.Append(nil, wire.Frame{Kind: wire.Request, Command: wire.Heartbeat, ID: 1, Codec: wire.Hessian2, Timeout: -1})); err != nil {
		return err
	}
	f, err := wire.NewReader(conn).Next()
	if err != nil {
		return err
	}
	if f.Kind != wire.Response || f.Command != wire.Heartbeat || f.ID != 1 || f.Status != 0 {
		return fmt.Errorf("the answer to a heartbeat is %+v", f)
	}
	return nil
}

// answeredSince counts the answered connections that were opened after t.
func (k *knocker) answeredSince(t time.Time) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, at := range k.answered {
		if at.After(t) {
			n++
		}
	}
	return n
}

// end stops knocking, waits for the last answers, and sums up.
func (k *knocker) end() string {
	k.cancel()
	<-k.over
	return fmt.Sprintf("killed; new connections: %d answered, %d broken that were open in it, %d refused",
		len(k.answered), len(k.broken), len(k.refused))
}
