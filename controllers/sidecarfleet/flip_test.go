package sidecarfleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// slotted makes a pod what the webhook makes of it at its creation, as far as the controller looks.
func (s *scene) slotted(pod *corev1.Pod) {
	image := "registry.example/axle-sidecar:g%d@sha256:" + fmt.Sprintf("%064x", scenes)
	for i, name := range []string{axlev1.SlotA, axlev1.SlotB} {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{
			Name: name, Image: fmt.Sprintf(image, 2-i), Args: []string{"slot"}, RestartPolicy: new(corev1.ContainerRestartPolicyAlways),
		})
	}
	pod.Annotations = map[string]string{
		axlev1.SlotsAnnotation:   fmt.Sprintf(`{"serving":2,"a":{"generation":2,"version":%q},"b":{"generation":1,"version":%[1]q}}`, s.first),
		axlev1.DesiredAnnotation: fmt.Sprintf(`{"fleet":%q,"generation":2,"version":%q}`, s.name, s.first),
	}
}

// reports plays the control channel of a pod with slots.
func (s *scene) reports(ctx context.Context, pod string, status axlev1.PodStatus) {
	GinkgoHelper()
	raw, err := json.Marshal(status)
	Expect(err).NotTo(HaveOccurred())
	text, err := json.Marshal(string(raw))
	Expect(err).NotTo(HaveOccurred())
	Expect(cluster.Patch(ctx, s.pod(ctx, pod), merge(fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, axlev1.StatusAnnotation, text)))).To(Succeed())
}

// answers plays the replica that the serving slot is connected to, when the operator asks for it.
func (s *scene) answers(ctx context.Context, pod string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		a := s.pod(ctx, pod).Annotations
		d, err := axlev1.ParseDesired(a)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(d.Confirm).NotTo(BeZero())
		st, err := axlev1.ParseStatus(a)
		g.Expect(err).NotTo(HaveOccurred())
		st.Confirmed = d.Confirm
		s.reports(ctx, pod, *st)
	}).Should(Succeed())
}

// slots says what a pod's slots are: the hint, and each slot's generation as the annotation and as its image has it.
func (s *scene) slots(ctx context.Context, name string) string {
	pod := s.pod(ctx, name)
	slots, err := axlev1.ParseSlots(pod.Annotations)
	if err != nil || slots == nil {
		return fmt.Sprint("no slots ", err)
	}
	tag := func(i int) string {
		_, tag, _ := strings.Cut(pod.Spec.InitContainers[i].Image, ":")
		tag, _, _ = strings.Cut(tag, "@")
		return tag
	}
	return fmt.Sprintf("serving %d, a %d %s, b %d %s", slots.Serving, slots.A.Generation, tag(0), slots.B.Generation, tag(1))
}

// wish is what the operator wants of a pod.
func (s *scene) wish(ctx context.Context, name string) string {
	d, err := axlev1.ParseDesired(s.pod(ctx, name).Annotations)
	if err != nil || d == nil {
		return fmt.Sprint("nothing ", err)
	}
	return fmt.Sprintf("g%d %s from g%d begin %t leave %t", d.Generation, d.Version, d.Predecessor, d.Begin, d.Leave)
}

var _ = Describe("a pod with slots", func() {
	It("is upgraded by flipping the slot that idles, in one patch", func(ctx context.Context) {
		s := newScene(ctx, 0)
		s.addPod(ctx, "pay-0", s.slotted)
		s.label(ctx, axlev1.InjectionEnabled)
		s.reports(ctx, "pay-0", axlev1.PodStatus{Generation: 2, Version: s.first, Phase: axlev1.PhaseServing, Term: 1})
		Eventually(func() axlev1.FleetPods { return s.fleet(ctx).Status.Pods }).Should(Equal(axlev1.FleetPods{Matched: 1, Injected: 1, Slots: 1, Updated: 1}))
		Expect(s.pod(ctx, "pay-0").Spec.EphemeralContainers).To(BeEmpty())
		Eventually(func() string { return s.fleet(ctx).Status.CurrentVersion }).Should(Equal(s.first))

		v2 := s.version(ctx, "v2")
		s.roll(ctx, v2)
		s.answers(ctx, "pay-0")
		Eventually(s.slots).WithContext(ctx).WithArguments("pay-0").Should(Equal("serving 2, a 2 g2, b 3 g3"))
		Expect(s.wish(ctx, "pay-0")).To(Equal("g3 " + v2 + " from g2 begin false leave false"))
		s.reports(ctx, "pay-0", axlev1.PodStatus{Generation: 2, Version: s.first, Phase: axlev1.PhaseServing, Candidate: 3, Term: 1})
		Eventually(s.wish).WithContext(ctx).WithArguments("pay-0").Should(Equal("g3 " + v2 + " from g2 begin true leave false"))
		s.reports(ctx, "pay-0", axlev1.PodStatus{
			Generation: 3, Version: v2, Phase: axlev1.PhaseServing, Term: 1, Handover: &axlev1.HandoverResult{From: 2, To: 3, OK: true, Moved: 7},
		})
		Eventually(s.slots).WithContext(ctx).WithArguments("pay-0").Should(Equal("serving 3, a 2 g2, b 3 g3"))
		Expect(s.wish(ctx, "pay-0")).To(Equal("g3 " + v2 + " from g0 begin false leave false"))
		Expect(s.pod(ctx, "pay-0").Spec.EphemeralContainers).To(BeEmpty())

		s.reports(ctx, "pay-0", axlev1.PodStatus{Generation: 2, Version: s.first, Phase: axlev1.PhaseServing, Term: 2}) // slot b was killed
		Eventually(s.eventsOf).WithContext(ctx).WithArguments("pay-0").Should(ContainElement("FailedOver"))
		s.answers(ctx, "pay-0")
		Eventually(s.slots).WithContext(ctx).WithArguments("pay-0").Should(Equal("serving 2, a 2 g2, b 4 g4"))
		Expect(s.wish(ctx, "pay-0")).To(Equal("g4 " + v2 + " from g2 begin false leave false"))
		Expect(s.condition(ctx, axlev1.ConditionDegraded)).To(HavePrefix("False/Healthy"))
		s.reports(ctx, "pay-0", axlev1.PodStatus{
			Generation: 4, Version: v2, Phase: axlev1.PhaseServing, Term: 2, Handover: &axlev1.HandoverResult{From: 2, To: 4, OK: true, Moved: 7},
		})
		Eventually(s.slots).WithContext(ctx).WithArguments("pay-0").Should(Equal("serving 4, a 2 g2, b 4 g4"))

		s.label(ctx, nil)
		Eventually(s.slots).WithContext(ctx).WithArguments("pay-0").Should(Equal("serving 0, a 2 g2, b 4 g4"))
		s.reports(ctx, "pay-0", axlev1.PodStatus{Generation: 4, Version: v2, Phase: axlev1.PhaseLeft, Term: 2})
		Eventually(s.wish).WithContext(ctx).WithArguments("pay-0").Should(HavePrefix("nothing"))
		s.label(ctx, axlev1.InjectionEnabled)
		Eventually(s.slots).WithContext(ctx).WithArguments("pay-0").Should(Equal("serving 4, a 2 g2, b 4 g4"))
		Expect(s.wish(ctx, "pay-0")).To(Equal("g4 " + v2 + " from g0 begin false leave false"))
		Expect(cluster.Delete(ctx, s.pod(ctx, "pay-0"), client.GracePeriodSeconds(0))).To(Succeed())
	})
})
