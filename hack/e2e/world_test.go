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
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/demo/stage"
	"github.com/axlemesh/axle/hack/demo/story"
	"github.com/axlemesh/axle/hack/peers/boltclient"
	"github.com/axlemesh/axle/hack/peers/meshstate"
)

// operatorPods selects the operator's pods.
const operatorPods = "app.kubernetes.io/component=operator"

// needsNode skips a spec that disturbs the node, on a cluster whose node is not ours.
func needsNode() {
	GinkgoHelper()
	if !machine.Owned() {
		Skip("it disturbs the node, and this cluster is the user's own")
	}
}

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

// viaMesh counts the connections that go through a sidecar.
func viaMesh(o story.Observation) int {
	n := 0
	for _, p := range o.Pods {
		if p.Client != nil {
			n += p.Client.Via[boltclient.Mesh]
		}
	}
	return n
}

// pod finds a pod by name.
func pod(o story.Observation, name string) story.Pod {
	GinkgoHelper()
	i := slices.IndexFunc(o.Pods, func(p story.Pod) bool { return p.Name == name })
	Expect(i).To(BeNumerically(">=", 0), "there is no pod %s", name)
	return o.Pods[i]
}

// noticed lists what the clients saw that they must not see, by client and counter: more than in before, which may be
// the zero Observation. The clients that are named in except are not asked.
func noticed(before, after story.Observation, except ...string) []string {
	had := map[string]boltclient.Report{}
	for _, p := range before.Pods {
		if p.Client != nil {
			had[p.Name] = p.Client.Report
		}
	}
	var out []string
	for _, p := range after.Pods {
		if p.Client == nil || slices.Contains(except, p.Name) {
			continue
		}
		a, b := p.Client.Report, had[p.Name]
		for _, c := range []struct {
			name string
			n    int64
		}{
			{"failed", a.Failed - b.Failed}, {"resets", a.Resets - b.Resets},
			{"reconnects", a.Reconnects - b.Reconnects}, {"duplicates", a.Duplicates - b.Duplicates},
		} {
			if c.n != 0 {
				out = append(out, fmt.Sprintf("%s %s=%d (it stood still itself for up to %.0f ms) %v", p.Name, c.name, c.n, a.LongestStallMS, a.Notes))
			}
		}
	}
	for _, p := range after.Pods {
		if p.Server != nil && p.Server.Duplicates+p.Server.BadChecksums > 0 {
			out = append(out, fmt.Sprintf("%s duplicates=%d bad_checksums=%d", p.Name, p.Server.Duplicates, p.Server.BadChecksums))
		}
	}
	return out
}

// meshed opens a scene in which every pod is served and every connection goes through a sidecar.
func meshed(ctx context.Context, name string) *stage.Scene {
	GinkgoHelper()
	sc := open(ctx, name)
	Expect(sc.Join(ctx)).To(Succeed())
	settled(ctx, sc, first)
	return sc
}

// settled waits until every pod is served with version and every connection goes through a sidecar. There may be more pods than
// in the beginning.
func settled(ctx context.Context, sc *stage.Scene, version string) story.Observation {
	GinkgoHelper()
	var o story.Observation
	Eventually(ctx, func(g Gomega) {
		var err error
		o, err = sc.Observe(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(len(o.Pods)).To(BeNumerically(">=", stage.Pods))
		g.Expect(serving(o, version)).To(Equal(len(o.Pods)), "pods that %s serves", version)
		g.Expect(viaMesh(o)).To(Equal(stage.Connections), "connections through sidecars; the clients say: %s", clientsSay(o))
	}).WithTimeout(3 * time.Minute).WithPolling(500 * time.Millisecond).Should(Succeed())
	return o
}

// clientsSay is where each client's connections are, and its last words.
func clientsSay(o story.Observation) string {
	var out []string
	for _, p := range o.Pods {
		if p.Client != nil {
			out = append(out, fmt.Sprintf("%s: %v, mesh %+v, notes %v", p.Name, p.Client.Via, p.Mesh, p.Client.Notes[max(len(p.Client.Notes)-3, 0):]))
		}
	}
	return strings.Join(out, "\n")
}

// calm lets the load run on and expects that nobody notices anything, the clients in except as little as the others: it is
// for the time after an accident.
func calm(ctx context.Context, sc *stage.Scene, before story.Observation, d time.Duration) story.Observation {
	GinkgoHelper()
	Expect(pause(ctx, d)).To(BeTrue())
	after, err := sc.Observe(ctx)
	Expect(err).NotTo(HaveOccurred())
	Expect(noticed(before, after)).To(BeEmpty())
	for _, p := range after.Pods {
		if p.Client != nil {
			Expect(p.Client.Requests).To(BeNumerically(">", pod(before, p.Name).Client.Requests), p.Name)
		}
	}
	return after
}

// calmed waits for the end of an accident: until nobody has noticed anything for so long. It returns what was seen before that.
func calmed(ctx context.Context, sc *stage.Scene, d time.Duration) story.Observation {
	GinkgoHelper()
	var before story.Observation
	Eventually(ctx, func(g Gomega) {
		var err error
		before, err = sc.Observe(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(pause(ctx, d)).To(BeTrue())
		after, err := sc.Observe(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(noticed(before, after)).To(BeEmpty())
	}).WithTimeout(time.Minute).Should(Succeed())
	return before
}

// consistent waits until what the operator wants, what the sidecars report and what the kubelet runs are the same in every
// pod: one sidecar of that version serves, none is on its way, nothing has failed.
func consistent(ctx context.Context, sc *stage.Scene, version string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		pods, err := sc.Core().CoreV1().Pods(sc.Name).List(ctx, metav1.ListOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		for i := range pods.Items {
			g.Expect(contradictions(&pods.Items[i], version)).To(BeEmpty())
		}
		fleet := &axlev1.SidecarFleet{}
		g.Expect(sc.Kinds().Get(ctx, client.ObjectKey{Name: stage.FleetName}, fleet)).To(Succeed())
		g.Expect(meta.IsStatusConditionTrue(fleet.Status.Conditions, axlev1.ConditionDegraded)).To(BeFalse(), "Degraded")
		g.Expect(fleet.Status.Pods.Failed).To(BeZero(), "failed pods")
		g.Expect(fleet.Status.Pods.Updated).To(BeEquivalentTo(stage.Pods), "updated pods")
	}).WithTimeout(time.Minute).WithPolling(500 * time.Millisecond).Should(Succeed())
}

// contradictions lists what does not fit together in a pod with a sidecar in place.
func contradictions(p *corev1.Pod, version string) []string {
	var out []string
	wrong := func(format string, args ...any) { out = append(out, p.Name+": "+fmt.Sprintf(format, args...)) }
	d, err := axlev1.ParseDesired(p.Annotations)
	if err != nil || d == nil {
		return append(out, fmt.Sprintf("%s: desired is %v, %v", p.Name, d, err))
	}
	st, err := axlev1.ParseStatus(p.Annotations)
	if err != nil || st == nil {
		return append(out, fmt.Sprintf("%s: status is %v, %v", p.Name, st, err))
	}
	if d.Version != version || st.Version != version || st.Phase != axlev1.PhaseServing || st.Candidate != 0 {
		wrong("want %s, desired is %+v, status is %+v", version, *d, *st)
	}
	if d.Generation != st.Generation || d.Predecessor != 0 || d.Begin || d.Leave || d.Failed != nil {
		wrong("desired %+v and status %+v do not agree", *d, *st)
	}
	if running := runningSidecars(p); !slices.Equal(running, []string{fmt.Sprintf("%s%d", axlev1.InPlacePrefix, d.Generation)}) {
		wrong("generation %d is wanted, and what runs is %v", d.Generation, running)
	}
	return out
}

// runningSidecars names the sidecars in place that the kubelet says it runs.
func runningSidecars(p *corev1.Pod) []string {
	var out []string
	for _, c := range p.Status.EphemeralContainerStatuses {
		if c.State.Running != nil && strings.HasPrefix(c.Name, axlev1.InPlacePrefix) {
			out = append(out, c.Name)
		}
	}
	return out
}
