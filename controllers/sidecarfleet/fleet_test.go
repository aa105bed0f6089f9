package sidecarfleet_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

var _ = Describe("a fleet whose namespace is labelled", func() {
	It("puts a sidecar into every running pod, and says so", func(ctx context.Context) {
		s := newScene(ctx, 3)
		Consistently(s.serving).WithContext(ctx).WithTimeout(300 * time.Millisecond).Should(HaveEach("none"))
		s.label(ctx, axlev1.InjectionEnabled)
		one := "1 " + s.first + " Serving"
		s.settled(ctx, one, one, one)
		Eventually(func() axlev1.FleetPods { return s.fleet(ctx).Status.Pods }).Should(Equal(axlev1.FleetPods{Matched: 3, Injected: 3, InPlace: 3, Updated: 3}))
		Expect(s.condition(ctx, axlev1.ConditionAvailable)).To(HavePrefix("True/AllServing"))
		Eventually(s.eventsOf).WithContext(ctx).WithArguments("pay-0").Should(ConsistOf("Injecting"))
		d, err := axlev1.ParseDesired(s.pod(ctx, "pay-0").Annotations)
		Expect(err).NotTo(HaveOccurred())
		Expect(d.Ports).To(Equal([]axlev1.PortSpec{{AppPort: 12200, MeshPort: 15200, Protocol: axlev1.ProtocolBolt}}))
		v := &axlev1.SidecarVersion{}
		Eventually(func(g Gomega) {
			g.Expect(cluster.Get(ctx, client.ObjectKey{Name: s.first}, v)).To(Succeed())
			g.Expect(v.Status.Pods).To(Equal(int32(3)))
		}).Should(Succeed())
	})

	It("leaves pods alone that cannot have one, and says why", func(ctx context.Context) {
		s := newScene(ctx, 1)
		s.addPod(ctx, "host", func(p *corev1.Pod) { p.Spec.HostNetwork = true })
		s.addPod(ctx, "not-me", func(p *corev1.Pod) { p.Labels[axlev1.InjectionLabel] = axlev1.InjectionDisabled })
		s.label(ctx, axlev1.InjectionEnabled)
		Eventually(func() string { return s.pod(ctx, "host").Annotations[axlev1.SkippedAnnotation] }).Should(HavePrefix("HostNetwork"))
		Eventually(func() string { return s.pod(ctx, "not-me").Annotations[axlev1.SkippedAnnotation] }).Should(HavePrefix("Disabled"))
		s.settled(ctx, "none", "none", "1 "+s.first+" Serving")
		Expect(s.eventsOf(ctx, "host")).To(ConsistOf("Skipped"))
		Expect(s.pod(ctx, "host").Spec.EphemeralContainers).To(BeEmpty())
	})

	It("injects again when the pod's sandbox was made anew", func(ctx context.Context) {
		s := newScene(ctx, 1)
		s.label(ctx, axlev1.InjectionEnabled)
		s.settled(ctx, "1 "+s.first+" Serving")
		pod := s.pod(ctx, "pay-0")
		(&fakeSidecar{pod: client.ObjectKeyFromObject(pod), uid: pod.UID, container: "axle-g1"}).state(ctx,
			corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown"}})
		s.settled(ctx, "2 "+s.first+" Serving")
	})
})

var _ = Describe("a fleet that gets another version", func() {
	It("rolls it out pod by pod, and the old sidecars end", func(ctx context.Context) {
		s := newScene(ctx, 3)
		s.label(ctx, axlev1.InjectionEnabled)
		one := "1 " + s.first + " Serving"
		s.settled(ctx, one, one, one)
		v2 := s.version(ctx, slow)
		s.roll(ctx, v2)
		two := "2 " + v2 + " Serving"
		for i := range 3 {
			Eventually(s.serving).WithContext(ctx).Should(ContainElement(HaveSuffix("HandingOver")))
			Consistently(func() int { // one at a time, and the others still serve as before
				return len(slices.DeleteFunc(s.serving(ctx), func(v string) bool { return v == one || v == two }))
			}).WithTimeout(200 * time.Millisecond).Should(BeNumerically("<=", 1))
			Expect(slices.Contains(s.serving(ctx), two)).To(Equal(i > 0))
			goOn <- struct{}{}
			Eventually(func() int { return int(s.fleet(ctx).Status.Pods.Updated) }).Should(Equal(i + 1))
		}
		s.settled(ctx, two, two, two)
		status := s.fleet(ctx).Status
		Expect(status.CurrentVersion).To(Equal(v2))
		Expect(status.Handover.ConnectionsMoved).To(Equal(int64(30)))
		Eventually(s.eventsOf).WithContext(ctx).WithArguments("pay-0").Should(ConsistOf("Injecting", "Upgrading", "HandoverBegun", "Upgraded"))
		d, err := axlev1.ParseDesired(s.pod(ctx, "pay-0").Annotations)
		Expect(err).NotTo(HaveOccurred())
		Expect(d.Predecessor).To(BeZero())
		Expect(d.Begin).To(BeFalse())
	})

	It("goes on where it was when the operator was away in the middle of a handover", func(ctx context.Context) {
		s := newScene(ctx, 2)
		s.label(ctx, axlev1.InjectionEnabled)
		one := "1 " + s.first + " Serving"
		s.settled(ctx, one, one)
		v2 := s.version(ctx, slow)
		s.roll(ctx, v2)
		Eventually(s.serving).WithContext(ctx).Should(ContainElement(HaveSuffix("HandingOver")))
		op.stop()
		goOn <- struct{}{} // the handover ends while nobody listens
		time.Sleep(100 * time.Millisecond)
		op.start()
		Eventually(func() int { return int(s.fleet(ctx).Status.Pods.Updated) }).Should(Equal(1))
		goOn <- struct{}{}
		s.settled(ctx, "2 "+v2+" Serving", "2 "+v2+" Serving")
		for _, name := range []string{"pay-0", "pay-1"} {
			Expect(s.pod(ctx, name).Spec.EphemeralContainers).To(HaveLen(2), "a restart adds no sidecar")
		}
	})

	It("goes on when a pod is deleted in its handover", func(ctx context.Context) {
		s := newScene(ctx, 2)
		s.label(ctx, axlev1.InjectionEnabled)
		one := "1 " + s.first + " Serving"
		s.settled(ctx, one, one)
		v2 := s.version(ctx, slow)
		s.roll(ctx, v2)
		Eventually(s.serving).WithContext(ctx).Should(ContainElement(HaveSuffix("HandingOver")))
		Expect(cluster.Delete(ctx, s.pod(ctx, "pay-0"), client.GracePeriodSeconds(0))).To(Succeed())
		goOn <- struct{}{}
		goOn <- struct{}{}
		s.settled(ctx, "2 "+v2+" Serving")
		Expect(s.condition(ctx, axlev1.ConditionDegraded)).To(HavePrefix("False/Healthy"))
	})
})

var _ = Describe("a fleet whose pods have all got another version", func() {
	It("is complete when they have served well with it for the interval of the analysis", func(ctx context.Context) {
		s := newScene(ctx, 1)
		s.label(ctx, axlev1.InjectionEnabled)
		s.settled(ctx, "1 "+s.first+" Serving")
		fleet := &axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
		Expect(cluster.Patch(ctx, fleet, merge(`{"spec":{"updateStrategy":{"analysis":{"interval":"3s"}}}}`))).To(Succeed())
		v2 := s.version(ctx, "v2")
		s.roll(ctx, v2)
		Eventually(s.condition).WithContext(ctx).WithArguments(axlev1.ConditionProgressing).Should(HavePrefix("True/Verifying"))
		Expect(s.fleet(ctx).Status.CurrentVersion).To(Equal(s.first))
		s.settled(ctx, "2 "+v2+" Serving")
		Expect(s.fleet(ctx).Status.CurrentVersion).To(Equal(v2))
	})
})

var _ = Describe("a fleet with a broken version", func() {
	It("stops at the first pod, says which and why, and can be sent back", func(ctx context.Context) {
		s := newScene(ctx, 3)
		s.label(ctx, axlev1.InjectionEnabled)
		one := "1 " + s.first + " Serving"
		s.settled(ctx, one, one, one)
		s.roll(ctx, s.version(ctx, breaks))
		Eventually(s.condition).WithContext(ctx).WithArguments(axlev1.ConditionDegraded).Should(And(
			HavePrefix("True/HandoverFailed"), ContainSubstring(s.name+"/pay-0"), ContainSubstring("counters of batch 3 do not match"),
			ContainSubstring("kubectl logs -n "+s.name+" pay-0 -c axle-g2"), ContainSubstring(`{"spec":{"version":"`+s.first+`"}}`)))
		Expect(s.condition(ctx, axlev1.ConditionProgressing)).To(HavePrefix("False/RolledBack"))
		Eventually(s.eventsOf).WithContext(ctx).WithArguments("pay-0").Should(ContainElement("HandoverFailed"))
		Eventually(s.serving).WithContext(ctx).Should(HaveEach(one))
		Consistently(s.serving).WithContext(ctx).Should(HaveEach(one))
		Expect(s.pod(ctx, "pay-1").Spec.EphemeralContainers).To(HaveLen(1))

		fleet := &axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
		Expect(cluster.Patch(ctx, fleet, merge(`{"spec":{"paused":true}}`))).To(Succeed())
		Expect(cluster.Patch(ctx, fleet, merge(`{"spec":{"paused":false}}`))).To(Succeed())
		Consistently(s.condition).WithContext(ctx).WithArguments(axlev1.ConditionProgressing).Should(HavePrefix("False/RolledBack"))
		Expect(s.pod(ctx, "pay-0").Spec.EphemeralContainers).To(HaveLen(2), "a pause is no retry")
		Expect(cluster.Patch(ctx, fleet, merge(fmt.Sprintf(`{"metadata":{"annotations":{%q:"again"}}}`, axlev1.RetryAnnotation)))).To(Succeed())
		Eventually(func() int { return len(s.pod(ctx, "pay-0").Spec.EphemeralContainers) }).Should(Equal(3))
		Eventually(s.condition).WithContext(ctx).WithArguments(axlev1.ConditionProgressing).Should(HavePrefix("False/RolledBack"))

		s.roll(ctx, s.first)
		s.settled(ctx, one, one, one)
		Eventually(s.condition).WithContext(ctx).WithArguments(axlev1.ConditionDegraded).Should(HavePrefix("False/Healthy"))
		v3 := s.version(ctx, "v3")
		s.roll(ctx, v3)
		s.settled(ctx, "4 "+v3+" Serving", "2 "+v3+" Serving", "2 "+v3+" Serving")
	})

	It("goes back where pods run it already, and stays so when the operator is started again", func(ctx context.Context) {
		s := newScene(ctx, 3)
		s.label(ctx, axlev1.InjectionEnabled)
		one := "1 " + s.first + " Serving"
		s.settled(ctx, one, one, one)
		bad := s.version(ctx, loses)
		s.roll(ctx, bad)
		back := "3 " + s.first + " Serving"
		Eventually(s.serving).WithContext(ctx).Should(HaveExactElements(back, one, one))
		Eventually(s.condition).WithContext(ctx).WithArguments(axlev1.ConditionRolledBack).Should(And(
			HavePrefix("True/RolloutFailed"), ContainSubstring(s.name+"/pay-0"), ContainSubstring("lost connections: 2")))
		Expect(s.condition(ctx, axlev1.ConditionDegraded)).To(HavePrefix("True/ConnectionsLost"))
		Expect(s.fleet(ctx).Spec.Version).To(Equal(bad))
		Expect(s.fleet(ctx).Status.CurrentVersion).To(Equal(s.first))
		op.stop()
		Expect(cluster.Delete(ctx, s.pod(ctx, "pay-0"), client.GracePeriodSeconds(0))).To(Succeed()) // the only witness
		op.start()
		Consistently(s.serving).WithContext(ctx).Should(HaveExactElements(one, one))
		Expect(s.condition(ctx, axlev1.ConditionRolledBack)).To(HavePrefix("True/RolloutFailed"))
		v3 := s.version(ctx, "v3")
		s.roll(ctx, v3)
		s.settled(ctx, "2 "+v3+" Serving", "2 "+v3+" Serving")
		Expect(s.condition(ctx, axlev1.ConditionRolledBack)).To(HavePrefix("False/NotNeeded"))
	})

	It("stops when the image cannot be pulled, and the old one serves on", func(ctx context.Context) {
		s := newScene(ctx, 2)
		s.label(ctx, axlev1.InjectionEnabled)
		one := "1 " + s.first + " Serving"
		s.settled(ctx, one, one)
		s.roll(ctx, s.version(ctx, unpullable))
		Eventually(s.condition).WithContext(ctx).WithArguments(axlev1.ConditionDegraded).Should(And(
			HavePrefix("True/HandoverFailed"), ContainSubstring("ImagePullBackOff: manifest unknown")))
		Expect(s.serving(ctx)).To(HaveEach(one))
	})

	It("touches no pod when a node cannot run the image, and takes its own pods away", func(ctx context.Context) {
		s := newScene(ctx, 2)
		s.label(ctx, axlev1.InjectionEnabled)
		one := "1 " + s.first + " Serving"
		s.settled(ctx, one, one)
		s.roll(ctx, s.version(ctx, absent))
		Eventually(s.condition).WithContext(ctx).WithArguments(axlev1.ConditionDegraded).Should(And(
			HavePrefix("True/ImageUnavailable"), ContainSubstring("node node-1"), ContainSubstring("exec format error")))
		Expect(s.condition(ctx, axlev1.ConditionRolledBack)).To(HavePrefix("True/RolloutFailed"))
		Expect(s.serving(ctx)).To(HaveEach(one))
		Expect(s.pod(ctx, "pay-0").Spec.EphemeralContainers).To(HaveLen(1))
		Eventually(func(g Gomega) {
			var pods corev1.PodList
			g.Expect(cluster.List(ctx, &pods, client.InNamespace("axle-system"), client.MatchingLabels{axlev1.GroupName + "/prepull-fleet": s.name})).To(Succeed())
			g.Expect(pods.Items).To(BeEmpty())
		}).Should(Succeed())
	})

	It("says once that a node cannot run the image, and keeps the pod that shows it, while pods wait for it", func(ctx context.Context) {
		s := newScene(ctx, 1)
		s.label(ctx, axlev1.InjectionEnabled)
		s.settled(ctx, "1 "+s.first+" Serving")
		fleet := &axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
		Expect(cluster.Patch(ctx, fleet, merge(`{"spec":{"updateStrategy":{"onFailure":"Pause"}}}`))).To(Succeed())
		s.roll(ctx, s.version(ctx, absent))
		kept := func(g Gomega) {
			var pods corev1.PodList
			g.Expect(cluster.List(ctx, &pods, client.InNamespace("axle-system"), client.MatchingLabels{axlev1.GroupName + "/prepull-fleet": s.name})).To(Succeed())
			g.Expect(pods.Items).To(HaveLen(1))
			g.Expect(pods.Items[0].Annotations[axlev1.GroupName+"/prepull-failed"]).To(ContainSubstring("exec format error"))
			g.Expect(s.condition(ctx, axlev1.ConditionProgressing)).To(HavePrefix("False/Stopped"))
			var list eventsv1.EventList
			g.Expect(cluster.List(ctx, &list)).To(Succeed())
			n := 0
			for _, e := range list.Items {
				if e.Regarding.Name == s.name && e.Reason == "ImageUnavailable" {
					n++
					g.Expect(e.Series).To(BeNil())
				}
			}
			g.Expect(n).To(Equal(1))
		}
		Eventually(kept).Should(Succeed())
		Consistently(kept).Should(Succeed())
	})

	It("stops when a candidate does not connect before the deadline", func(ctx context.Context) {
		s := newScene(ctx, 1)
		s.label(ctx, axlev1.InjectionEnabled)
		s.settled(ctx, "1 "+s.first+" Serving")
		fleet := &axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
		Expect(cluster.Patch(ctx, fleet, merge(`{"spec":{"updateStrategy":{"progressDeadlineSeconds":2}}}`))).To(Succeed())
		s.roll(ctx, s.version(ctx, hangs))
		Eventually(s.condition).WithContext(ctx).WithArguments(axlev1.ConditionDegraded).Should(And(
			HavePrefix("True/HandoverFailed"), ContainSubstring("did not connect to the operator within 2s")))
	})

	It("touches nothing when the version is not there", func(ctx context.Context) {
		s := newScene(ctx, 1)
		s.label(ctx, axlev1.InjectionEnabled)
		s.settled(ctx, "1 "+s.first+" Serving")
		s.roll(ctx, "nowhere")
		Eventually(s.condition).WithContext(ctx).WithArguments(axlev1.ConditionDegraded).Should(HavePrefix(`True/VersionUnavailable: SidecarVersion "nowhere" does not exist`))
		Expect(s.pod(ctx, "pay-0").Spec.EphemeralContainers).To(HaveLen(1))
	})
})

var _ = Describe("pods that are not wanted any more", func() {
	gone := func(s *scene) func(ctx context.Context) map[string]string {
		return func(ctx context.Context) map[string]string {
			a := s.pod(ctx, "pay-0").Annotations
			return map[string]string{"desired": a[axlev1.DesiredAnnotation], "phase": s.serving(ctx)[0]}
		}
	}
	It("are left when the namespace is unlabelled, and come back with the label", func(ctx context.Context) {
		s := newScene(ctx, 1)
		s.label(ctx, axlev1.InjectionEnabled)
		s.settled(ctx, "1 "+s.first+" Serving")
		s.label(ctx, nil)
		Eventually(gone(s)).WithContext(ctx).Should(Equal(map[string]string{"desired": "", "phase": "1 " + s.first + " Left"}))
		Eventually(s.eventsOf).WithContext(ctx).WithArguments("pay-0").Should(ConsistOf("Injecting", "Leaving", "Left"))
		s.label(ctx, axlev1.InjectionEnabled)
		s.settled(ctx, "2 "+s.first+" Serving")
	})

	It("are left when the fleet is deleted while the operator is away", func(ctx context.Context) {
		s := newScene(ctx, 1)
		s.label(ctx, axlev1.InjectionEnabled)
		s.settled(ctx, "1 "+s.first+" Serving")
		op.stop()
		Expect(cluster.Delete(ctx, s.fleet(ctx))).To(Succeed())
		op.start()
		Eventually(gone(s)).WithContext(ctx).Should(Equal(map[string]string{"desired": "", "phase": "1 " + s.first + " Left"}))
	})

	It("are left when the fleet puts no sidecars into running pods any more", func(ctx context.Context) {
		s := newScene(ctx, 1)
		s.label(ctx, axlev1.InjectionEnabled)
		s.settled(ctx, "1 "+s.first+" Serving")
		fleet := &axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
		Expect(cluster.Patch(ctx, fleet, merge(`{"spec":{"inPlace":{"enabled":false}}}`))).To(Succeed())
		Eventually(gone(s)).WithContext(ctx).Should(Equal(map[string]string{"desired": "", "phase": "1 " + s.first + " Left"}))
	})
})

var _ = Describe("two fleets that select one pod", func() {
	It("leave it with the one that has it, and the other says so", func(ctx context.Context) {
		s := newScene(ctx, 1)
		s.label(ctx, axlev1.InjectionEnabled)
		s.settled(ctx, "1 "+s.first+" Serving")
		rival := s.fleet(ctx)
		rival.ObjectMeta = metav1.ObjectMeta{Name: s.name + "-rival"}
		rival.Spec.Priority = 10
		Expect(cluster.Create(ctx, rival)).To(Succeed())
		DeferCleanup(func(ctx context.Context) { _ = cluster.Delete(ctx, rival) })
		conflicted := func(ctx context.Context) string {
			return (&scene{name: rival.Name}).condition(ctx, axlev1.ConditionConflicted)
		}
		Eventually(conflicted).WithContext(ctx).Should(And(HavePrefix("True/OtherFleetOwnsPods"), ContainSubstring(s.name)))
		Expect(s.pod(ctx, "pay-0").Annotations[axlev1.DesiredAnnotation]).To(ContainSubstring(`"fleet":"` + s.name + `"`))
	})
})

var _ = Describe("the endpoints of a service", func() {
	It("are the mesh port while the pod's sidecar serves, and the application's before and after", func(ctx context.Context) {
		s := newScene(ctx, 1)
		slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
			Namespace: s.name, Name: "pay-1", Labels: map[string]string{discoveryv1.LabelServiceName: "pay"},
		}}
		slice.AddressType = discoveryv1.AddressTypeIPv4
		slice.Ports = []discoveryv1.EndpointPort{{Name: new("rpc"), Port: new(int32(12200)), Protocol: new(corev1.ProtocolTCP)}}
		slice.Endpoints = []discoveryv1.Endpoint{{
			Addresses: []string{"10.1.2.3"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: s.name, Name: "pay-0"},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
		}}
		Expect(cluster.Create(ctx, slice)).To(Succeed())
		next := s.watch(ctx)
		Expect(next()).To(HaveExactElements("10.1.2.3:12200"))
		s.label(ctx, axlev1.InjectionEnabled)
		Expect(next()).To(HaveExactElements("10.1.2.3:15200"))
		s.settled(ctx, "1 "+s.first+" Serving")
		s.label(ctx, nil)
		Expect(next()).To(HaveExactElements("10.1.2.3:12200"))
	})
})
