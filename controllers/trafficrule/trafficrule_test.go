package trafficrule_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

func takes(string) string { return "" }

// service makes a Service with a Bolt port.
func service(ctx context.Context, ns, name string) {
	GinkgoHelper()
	svc := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
		{Name: "rpc", Port: 12200, TargetPort: intstr.FromInt32(12200), AppProtocol: new("bolt")},
	}}}
	svc.Namespace, svc.Name = ns, name
	Expect(cluster.Create(ctx, svc)).To(Succeed())
}

// endpoint makes a pod with an address, and the slice of a Service that it alone is in.
func endpoint(ctx context.Context, ns, svc, name, ip string, labels map[string]string) *corev1.Pod {
	GinkgoHelper()
	p := pod(ns, name, labels)
	Expect(cluster.Create(ctx, p)).To(Succeed())
	p.Status.Phase, p.Status.PodIP = corev1.PodRunning, "127.0.0.1"
	Expect(cluster.Status().Update(ctx, p)).To(Succeed())
	slice := &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: new("rpc"), Port: new(int32(12200))}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: name},
		}},
	}
	slice.Namespace, slice.Name, slice.Labels = ns, name, map[string]string{discoveryv1.LabelServiceName: svc}
	Expect(cluster.Create(ctx, slice)).To(Succeed())
	return p
}

// rule makes a TrafficRule; its parent is pay.
func rule(ctx context.Context, ns, name, rules string) *axlev1.TrafficRule {
	GinkgoHelper()
	r := &axlev1.TrafficRule{}
	Expect(yaml.UnmarshalStrict([]byte("parentRefs: [{name: pay}]\nrules: "+rules), &r.Spec)).To(Succeed())
	r.Namespace, r.Name = ns, name
	Expect(cluster.Create(ctx, r)).To(Succeed())
	return r
}

// status is a rule's conditions, and its sidecars: total, acked, nacked.
func status(ctx context.Context, r *axlev1.TrafficRule) func() string {
	return func() string {
		if err := cluster.Get(ctx, client.ObjectKeyFromObject(r), r); err != nil {
			return err.Error()
		}
		var words []string
		for _, c := range r.Status.Conditions {
			words = append(words, fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason))
		}
		p := r.Status.Proxies
		return fmt.Sprintf("%s %d/%d/%d", strings.Join(words, " "), p.Total, p.Acked, p.Nacked)
	}
}

func message(r *axlev1.TrafficRule, kind string) string {
	for _, c := range r.Status.Parents[0].Conditions {
		if c.Type == kind {
			return c.Message
		}
	}
	return ""
}

const accepted = "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs "

var _ = Describe("a TrafficRule", Ordered, func() {
	var leader, other *replica
	var p0, p1 *corev1.Pod
	const ns = "payments"

	BeforeAll(func(ctx context.Context) {
		namespace(ctx, ns)
		service(ctx, ns, "pay")
		p0 = endpoint(ctx, ns, "pay", "pay-0", "10.0.0.1", map[string]string{"version": "v1"})
		p1 = endpoint(ctx, ns, "pay", "pay-1", "10.0.0.2", map[string]string{"version": "v2"})
		leader, other = start("axle-operator-0", true), start("axle-operator-1", false)
		DeferCleanup(func() { leader.stop() })
	})

	It("is programmed when the sidecars of every replica have taken it, and says who rejects it", func(ctx context.Context) {
		r := rule(ctx, ns, "gray", "[{timeout: 1s}]")
		Eventually(status(ctx, r)).Should(Equal(accepted + "Programmed=Unknown/NoSidecars 0/0/0"))

		var no atomic.Bool
		a := leader.connect(context.WithoutCancel(ctx), p0, takes)
		DeferCleanup(a.leave)
		b := other.connect(context.WithoutCancel(ctx), p1, func(string) string {
			if no.Load() {
				return `VirtualHost "pay.payments": routes[0]: timeout: too short`
			}
			return ""
		})
		Eventually(status(ctx, r)).Should(Equal(accepted + "Programmed=True/Programmed 2/2/0"))
		Expect(r.Status.ObservedGeneration).To(Equal(r.Generation))
		Expect(r.Status.Parents[0].ParentRef.Name).To(Equal("pay"))

		no.Store(true)
		r.Spec.Rules[0].Timeout.Duration /= 2
		Expect(cluster.Update(ctx, r)).To(Succeed())
		Eventually(status(ctx, r)).Should(Equal(accepted + "Programmed=False/NACKed 2/1/1"))
		Expect(message(r, axlev1.ConditionProgrammed)).To(ContainSubstring(`payments/pay-1 (axle-g1): VirtualHost "pay.payments": routes[0]: timeout: too short`))
		Eventually(func(g Gomega) {
			var events eventsv1.EventList
			g.Expect(cluster.List(ctx, &events, client.InNamespace(ns))).To(Succeed())
			g.Expect(slices.ContainsFunc(events.Items, func(e eventsv1.Event) bool {
				return e.Regarding.Name == "gray" && e.Reason == "NACKed" && strings.Contains(e.Note, "pay-1")
			})).To(BeTrue())
		}).Should(Succeed())

		By("the replica of that sidecar going away")
		b.leave()
		other.stop()
		Eventually(status(ctx, r)).Should(Equal(accepted + "Programmed=True/Programmed 1/1/0"))
		Expect(r.Status.Replicas).To(HaveLen(1))
		Expect(cluster.Delete(ctx, r)).To(Succeed())
	})

	It("that loses against an older one says so, and has its turn when that is gone", func(ctx context.Context) {
		first := rule(ctx, ns, "a-first", "[{matches: [{method: {value: query}}], timeout: 1s}]")
		Eventually(status(ctx, first)).Should(ContainSubstring("Accepted=True/Accepted"))
		second := rule(ctx, ns, "b-second", "[{matches: [{method: {value: query}}], timeout: 2s}]")
		Eventually(status(ctx, second)).Should(ContainSubstring("Accepted=False/Conflicted"))
		Expect(status(ctx, second)()).To(ContainSubstring("Programmed=False/NotAccepted"))
		Expect(message(second, axlev1.ConditionAccepted)).To(ContainSubstring("TrafficRule a-first is older"))
		Expect(cluster.Delete(ctx, first)).To(Succeed())
		Eventually(status(ctx, second)).Should(ContainSubstring("Accepted=True/Accepted"))
		Expect(cluster.Delete(ctx, second)).To(Succeed())
	})

	It("with an expression that is none is not accepted", func(ctx context.Context) {
		r := rule(ctx, ns, "broken", "[{matches: [{method: {type: RegularExpression, value: '('}}]}]")
		Eventually(status(ctx, r)).Should(ContainSubstring("Accepted=False/InvalidMatch"))
		Expect(cluster.Delete(ctx, r)).To(Succeed())
	})

	It("waits for the Services that it names, and for pods of its subsets", func(ctx context.Context) {
		r := rule(ctx, ns, "subset", "[{backendRefs: [{name: late, subset: {version: v9}}]}]")
		Eventually(status(ctx, r)).Should(ContainSubstring("ResolvedRefs=False/BackendNotFound"))
		service(ctx, ns, "late")
		Eventually(status(ctx, r)).Should(ContainSubstring("ResolvedRefs=False/SubsetEmpty"))
		late := endpoint(ctx, ns, "late", "late-0", "10.0.0.3", map[string]string{"version": "v8"})
		Consistently(status(ctx, r), "500ms").Should(ContainSubstring("ResolvedRefs=False/SubsetEmpty"))
		late.Labels["version"] = "v9"
		Expect(cluster.Update(ctx, late)).To(Succeed())
		Eventually(status(ctx, r)).Should(ContainSubstring("ResolvedRefs=True/ResolvedRefs"))
		Expect(cluster.Delete(ctx, r)).To(Succeed())
	})

	It("of a Service that does not exist says so, and is accepted when it does", func(ctx context.Context) {
		namespace(ctx, "empty")
		r := rule(ctx, "empty", "early", "[{timeout: 1s}]")
		Eventually(status(ctx, r)).Should(ContainSubstring("Accepted=False/NoMatchingParent"))
		Expect(message(r, axlev1.ConditionAccepted)).To(Equal("There is no Service pay in namespace empty."))
		service(ctx, "empty", "pay")
		Eventually(status(ctx, r)).Should(ContainSubstring("Accepted=True/Accepted"))
	})
})
