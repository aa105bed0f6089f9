//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/demo/stage"
	"github.com/axlemesh/axle/hack/demo/story"
)

const (
	wearUpgrades = 50
	// wearEvery is after how many upgrades the pod is weighed.
	wearEvery = 10
	// wearOne is how long one upgrade of one pod may take.
	wearOne = 30 * time.Second
)

var _ = Describe("one pod that is upgraded in place again and again", func() {
	It("loses nothing in 50 upgrades, and what its entries cost is known", func(ctx SpecContext) {
		sc := meshed(ctx, "e2e-wear")
		before, err := sc.Observe(ctx)
		Expect(err).NotTo(HaveOccurred())
		setMaxGenerations(ctx, sc, 2*wearUpgrades)
		DeferCleanup(func(ctx SpecContext) { setMaxGenerations(ctx, sc, 50) })

		const name = "cashier-1"
		table := &bytes.Buffer{}
		fmt.Fprintf(table, "%8s %10s %19s %19s %19s %16s\n", "upgrades", "pod bytes", "sent to running", "running to serving", "kubelet's sync", "for the window")
		fmt.Fprintf(table, "%8d %10d\n", 0, weight(ctx, sc, name))
		var all wearTimes
		syncs, sum := podSyncs(ctx, sc)
		for i := range wearUpgrades {
			all = append(all, upgradeOne(ctx, sc, name, upgrades[i%2]))
			if (i+1)%wearEvery != 0 {
				continue
			}
			n, s := podSyncs(ctx, sc)
			window := all[len(all)-wearEvery:]
			fmt.Fprintf(table, "%8d %10d %19s %19s %19s %16s\n", i+1, weight(ctx, sc, name), window.started(), window.served(),
				fmt.Sprintf("%.1f ms of %d", 1000*(s-sum)/max(n-syncs, 1), int(n-syncs)), window.total())
			syncs, sum = n, s
		}
		AddReportEntry("wear", ReportEntryVisibilityAlways, table.String())

		after, err := sc.Observe(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(noticed(story.Observation{}, after)).To(BeEmpty())
		for _, p := range after.Pods {
			if p.Name == name {
				Expect(p.Sidecars).To(HaveLen(wearUpgrades + 1))
				Expect(p.Client.Connections).To(Equal(pod(before, name).Client.Connections), "the sockets")
			}
		}
		Expect(sc.Leave(ctx)).To(Succeed())
	}, NodeTimeout(12*time.Minute))
})

// wearTime is one upgrade: when its container was seen in the pod's spec, running, and serving.
type wearTime struct{ sent, running, serving time.Time }

type wearTimes []wearTime

func (w wearTimes) started() string {
	return spread(w, func(t wearTime) time.Duration { return t.running.Sub(t.sent) })
}

func (w wearTimes) served() string {
	return spread(w, func(t wearTime) time.Duration { return t.serving.Sub(t.running) })
}

func (w wearTimes) total() string {
	return w[len(w)-1].serving.Sub(w[0].sent).Round(10 * time.Millisecond).String()
}

// spread is mean and maximum.
func spread(w wearTimes, of func(wearTime) time.Duration) string {
	var sum, most time.Duration
	for _, t := range w {
		sum, most = sum+of(t), max(most, of(t))
	}
	return fmt.Sprintf("%v, max %v", (sum / time.Duration(len(w))).Round(time.Millisecond), most.Round(time.Millisecond))
}

// upgradeOne pins one pod to version and watches it until that serves and nothing of the upgrade is left to do.
func upgradeOne(ctx context.Context, sc *stage.Scene, name, version string) wearTime {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(ctx, wearOne)
	defer cancel()
	pods := sc.Core().CoreV1().Pods(sc.Name)
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, axlev1.PinVersionAnnotation, version)
	p, err := pods.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	Expect(err).NotTo(HaveOccurred())
	had := len(p.Spec.EphemeralContainers)
	w, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name, ResourceVersion: p.ResourceVersion})
	Expect(err).NotTo(HaveOccurred())
	defer w.Stop()
	var t wearTime
	for ev := range w.ResultChan() {
		p, ok := ev.Object.(*corev1.Pod)
		if !ok || ev.Type != watch.Modified {
			continue
		}
		if t.observe(p, had, version) {
			return t
		}
	}
	Fail(fmt.Sprintf("%s did not get %s within %v: %+v", name, version, wearOne, t))
	return t
}

// observe notes what the pod shows, and says whether the upgrade is over.
func (t *wearTime) observe(p *corev1.Pod, had int, version string) bool {
	GinkgoHelper()
	now := time.Now()
	if len(p.Spec.EphemeralContainers) == had {
		return false
	}
	if t.sent.IsZero() {
		t.sent = now
	}
	d, err := axlev1.ParseDesired(p.Annotations)
	Expect(err).NotTo(HaveOccurred())
	st, err := axlev1.ParseStatus(p.Annotations)
	Expect(err).NotTo(HaveOccurred())
	Expect(d.Failed).To(BeNil())
	for _, name := range runningSidecars(p) {
		if t.running.IsZero() && name == inPlace(int64(had+1)) {
			t.running = now
		}
	}
	if t.serving.IsZero() && st.Generation == int64(had+1) {
		t.serving = now
		if t.running.IsZero() { // the sidecar was faster than the kubelet's word
			t.running = now
		}
	}
	return !t.serving.IsZero() && d.Generation == st.Generation && d.Predecessor == 0 && st.Version == version && len(runningSidecars(p)) == 1
}

func setMaxGenerations(ctx context.Context, sc *stage.Scene, n int) {
	GinkgoHelper()
	fleet := &axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: stage.FleetName}}
	patch := fmt.Appendf(nil, `{"spec":{"inPlace":{"maxGenerations":%d}}}`, n)
	Expect(sc.Kinds().Patch(ctx, fleet, client.RawPatch(types.MergePatchType, patch))).To(Succeed())
}

// weight is how many bytes the pod is for everyone who reads it as JSON.
func weight(ctx context.Context, sc *stage.Scene, name string) int {
	GinkgoHelper()
	raw, err := sc.Core().CoreV1().RESTClient().Get().Namespace(sc.Name).Resource("pods").Name(name).DoRaw(ctx)
	Expect(err).NotTo(HaveOccurred())
	return len(raw)
}

// podSyncs is how many syncs of pods the kubelets have done, and how many seconds they took.
func podSyncs(ctx context.Context, sc *stage.Scene) (n, seconds float64) {
	GinkgoHelper()
	nodes, err := sc.Core().CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	Expect(err).NotTo(HaveOccurred())
	for _, node := range nodes.Items {
		raw, err := sc.Core().CoreV1().RESTClient().Get().Resource("nodes").Name(node.Name).SubResource("proxy").Suffix("metrics").DoRaw(ctx)
		Expect(err).NotTo(HaveOccurred())
		for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); {
			series, value, _ := strings.Cut(lines.Text(), " ")
			v, err := strconv.ParseFloat(value, 64)
			switch {
			case err != nil:
			case series == `kubelet_pod_worker_duration_seconds_count{operation_type="sync"}`:
				n += v
			case series == `kubelet_pod_worker_duration_seconds_sum{operation_type="sync"}`:
				seconds += v
			}
		}
	}
	return n, seconds
}
