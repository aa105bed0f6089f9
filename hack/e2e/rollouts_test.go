//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/demo/stage"
	"github.com/axlemesh/axle/hack/demo/story"
)

// moment is a step of a rollout, and the accident that happens as soon as a pod shows it.
type moment struct {
	name string
	// shows says whether this pod is at the step, on its way to version.
	shows func(p *corev1.Pod, d *axlev1.PodDesired, st *axlev1.PodStatus) bool
	// prepare returns the accident, ready to happen at once; that returns when it is over, or when the story may go on.
	prepare func(ctx context.Context) (accident, error)
}

type accident func(ctx context.Context) error

// plainly is for an accident that needs no preparation.
func plainly(a accident) func(context.Context) (accident, error) {
	return func(context.Context) (accident, error) { return a, nil }
}

// The steps, in their order.
func desiredWritten(p *corev1.Pod, d *axlev1.PodDesired, _ *axlev1.PodStatus) bool {
	return d.Predecessor != 0 && !d.Begin && !slices.ContainsFunc(p.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool {
		return c.Name == inPlace(d.Generation)
	})
}

func containerSent(p *corev1.Pod, d *axlev1.PodDesired, _ *axlev1.PodStatus) bool {
	return d.Predecessor != 0 && !d.Begin && !slices.Contains(runningSidecars(p), inPlace(d.Generation)) &&
		slices.ContainsFunc(p.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == inPlace(d.Generation) })
}

func candidateConnected(_ *corev1.Pod, d *axlev1.PodDesired, st *axlev1.PodStatus) bool {
	return d.Predecessor != 0 && !d.Begin && st.Candidate == d.Generation
}

func beginWritten(_ *corev1.Pod, d *axlev1.PodDesired, st *axlev1.PodStatus) bool {
	return d.Begin && st.Generation == d.Predecessor && st.Phase == axlev1.PhaseServing
}

func handoverRunning(_ *corev1.Pod, d *axlev1.PodDesired, st *axlev1.PodStatus) bool {
	return d.Begin && st.Phase == axlev1.PhaseHandingOver
}

func handoverDone(_ *corev1.Pod, d *axlev1.PodDesired, st *axlev1.PodStatus) bool {
	return d.Predecessor != 0 && st.Generation == d.Generation
}

func inPlace(generation int64) string { return fmt.Sprintf("%s%d", axlev1.InPlacePrefix, generation) }

// accidentProne is a scene in which every upgrade has an accident at one moment, in turn.
type accidentProne struct {
	*stage.Scene
	moments []moment
	// happened names the moments whose accidents have happened; troubles is what the fleet said was wrong.
	happened, troubles []string
}

// Upgrade patches the fleet, waits until some pod is at the next moment, and lets the accident happen.
func (a *accidentProne) Upgrade(ctx context.Context, version string) error {
	m := a.moments[len(a.happened)]
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	happen, err := m.prepare(ctx)
	if err != nil {
		return err
	}
	w, err := a.Core().CoreV1().Pods(a.Name).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	if err := a.Scene.Upgrade(ctx, version); err != nil {
		return err
	}
	for ev := range w.ResultChan() {
		p, ok := ev.Object.(*corev1.Pod)
		if !ok {
			continue
		}
		d, err := axlev1.ParseDesired(p.Annotations)
		st, serr := axlev1.ParseStatus(p.Annotations)
		if err := errors.Join(err, serr); err != nil {
			return err
		}
		if d == nil || st == nil || d.Version != version || !m.shows(p, d, st) {
			continue
		}
		shown := time.Now()
		err = happen(ctx)
		a.happened = append(a.happened, m.name)
		GinkgoWriter.Printf("%s  %s: %s; the accident took %v (desired %+v, status %+v)\n", shown.Format("15:04:05"), p.Name, m.name,
			time.Since(shown).Round(time.Millisecond), *d, *st)
		return err
	}
	return fmt.Errorf("no pod showed %q on its way to %s", m.name, version)
}

// Observe also collects what the fleet says is wrong.
func (a *accidentProne) Observe(ctx context.Context) (story.Observation, error) {
	o, err := a.Scene.Observe(ctx)
	if strings.Contains(o.Trouble, "degraded") && !slices.Contains(a.troubles, o.Trouble) {
		a.troubles = append(a.troubles, o.Trouble)
	}
	return o, err
}

// pass expects that every moment came, that nobody noticed, and that the fleet had nothing to complain about.
func (a *accidentProne) pass(v story.Verdict) {
	GinkgoHelper()
	Expect(v.Why).To(BeEmpty())
	Expect([]int64{v.Failed, v.Resets, v.Reconnects, v.Duplicates}).To(Equal([]int64{0, 0, 0, 0}))
	Expect(v.Upgrades).To(Equal(len(a.moments)))
	Expect(a.happened).To(HaveLen(len(a.moments)))
	Expect(a.troubles).To(BeEmpty())
}

// killOperator ends every replica of the operator at once, as losing power does.
func killOperator(ctx context.Context) (accident, error) {
	pods, err := theater.Core().CoreV1().Pods(theater.Namespace()).List(ctx, metav1.ListOptions{LabelSelector: operatorPods})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, p := range pods.Items {
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Running != nil {
				ids = append(ids, c.ContainerID)
			}
		}
	}
	if len(ids) == 0 {
		return nil, errors.New("no operator runs that could be killed")
	}
	return func(ctx context.Context) error {
		var g errgroup.Group
		for _, id := range ids {
			g.Go(func() error { return machine.KillContainer(ctx, id) })
		}
		return g.Wait()
	}, nil
}

// replaceOperator kills every replica and deletes its pod, as losing its node does. Pods that are made anew have no
// back-off.
func replaceOperator(ctx context.Context) (accident, error) {
	kill, err := killOperator(ctx)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		if err := kill(ctx); err != nil {
			return err
		}
		return deleteOperator(ctx)
	}, nil
}

func deleteOperator(ctx context.Context) error {
	return theater.Core().CoreV1().Pods(theater.Namespace()).DeleteCollection(ctx,
		metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, metav1.ListOptions{LabelSelector: operatorPods})
}

var _ = Describe("a rollout", func() {
	It("survives the death of every operator at each of its steps, and nobody notices", func(ctx SpecContext) {
		kill, replace := killOperator, replaceOperator
		if !machine.Owned() { // deleting pods is all that can be done there
			kill, replace = plainly(deleteOperator), plainly(deleteOperator)
		}
		a := &accidentProne{Scene: open(ctx, "e2e-operator"), moments: []moment{
			{"the desire is written", desiredWritten, kill},
			{"the candidate has connected", candidateConnected, replace},
			{"begin is written", beginWritten, kill},
			{"the handover runs", handoverRunning, replace},
			{"the handover is over", handoverDone, kill},
		}}
		a.pass(tell(ctx, a, 2*time.Second, "v1-1-0", "v1-2-0", "v1-3-0", "v1-1-0", "v1-2-0"))
	}, NodeTimeout(10*time.Minute))

	It("survives restarts of the kubelet, and nobody notices", func(ctx SpecContext) {
		needsNode()
		a := &accidentProne{Scene: open(ctx, "e2e-kubelet"), moments: []moment{
			{"the candidate is not started yet", containerSent, plainly(machine.RestartKubelet)},
			{"begin is written", beginWritten, plainly(machine.RestartKubelet)},
		}}
		a.pass(tell(ctx, a, 2*time.Second, "v1-1-0", "v1-2-0"))
	}, NodeTimeout(8*time.Minute))

	It("survives ten seconds without an apiserver, and nobody notices", func(ctx SpecContext) {
		needsNode()
		crash := plainly(func(ctx context.Context) error { return machine.CrashAPIServer(ctx, 10*time.Second) })
		a := &accidentProne{Scene: open(ctx, "e2e-apiserver"), moments: []moment{
			{"the candidate is not started yet", containerSent, crash},
			{"begin is written", beginWritten, crash},
		}}
		a.pass(tell(ctx, a, 2*time.Second, "v1-1-0", "v1-2-0"))
	}, NodeTimeout(8*time.Minute))
})
