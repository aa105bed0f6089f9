package trafficrule_test

import (
	"context"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/identity"
)

// upstream makes a TrafficRule that has nothing but an upstream; its parent is pay.
func upstream(ctx context.Context, ns, name, says string) *axlev1.TrafficRule {
	GinkgoHelper()
	r := &axlev1.TrafficRule{}
	Expect(yaml.UnmarshalStrict([]byte("parentRefs: [{name: pay}]\nupstream: "+says), &r.Spec)).To(Succeed())
	r.Namespace, r.Name = ns, name
	Expect(cluster.Create(ctx, r)).To(Succeed())
	return r
}

var _ = Describe("a TrafficRule with an upstream", Ordered, func() {
	var leader *replica
	var p0 *corev1.Pod
	const ns = "upstreams"

	BeforeAll(func(ctx context.Context) {
		namespace(ctx, ns)
		service(ctx, ns, "pay")
		p0 = endpoint(ctx, ns, "pay", "pay-0", "10.0.0.1", map[string]string{"app": "pay"})
		leader = start("axle-operator-8", true)
		DeferCleanup(func() { leader.stop() })
	})

	It("is programmed when sidecars have taken its clusters, the oldest first", func(ctx context.Context) {
		a := leader.connect(context.WithoutCancel(ctx), p0, takes)
		DeferCleanup(a.leave)
		first := upstream(ctx, ns, "a-first", "{connectTimeout: 300ms}")
		Eventually(status(ctx, first)).Should(Equal(accepted + "Programmed=True/Programmed 1/1/0"))

		second := upstream(ctx, ns, "b-second", "{circuitBreakers: {maxRequests: 10}}")
		Eventually(status(ctx, second)).Should(ContainSubstring("Accepted=False/Conflicted"))
		Expect(message(second, axlev1.ConditionAccepted)).To(ContainSubstring("TrafficRule a-first is older and has an upstream for port 12200 of Service pay"))
		Expect(cluster.Delete(ctx, first)).To(Succeed())
		Eventually(status(ctx, second)).Should(Equal(accepted + "Programmed=True/Programmed 1/1/0"))
		Expect(cluster.Delete(ctx, second)).To(Succeed())
	})

	It("is rejected by a sidecar that does not know it", func(ctx context.Context) {
		a := leader.connect(context.WithoutCancel(ctx), p0, func(name string) string {
			if name == "outbound/upstreams/pay/12200" {
				return `Cluster "outbound/upstreams/pay/12200": load_balancing_policy.policies: none is known to this version`
			}
			return ""
		})
		DeferCleanup(a.leave)
		r := upstream(ctx, ns, "new", "{balancing: {policy: Maglev, hashHeaders: [uid]}}")
		Eventually(status(ctx, r)).Should(Equal(accepted + "Programmed=False/NACKed 1/0/1"))
		Expect(message(r, axlev1.ConditionProgrammed)).To(ContainSubstring("none is known to this version"))
		Expect(cluster.Delete(ctx, r)).To(Succeed())
	})
})

var _ = Describe("a pod that calls", Ordered, func() {
	It("has its labels in its listeners, as they are now", func(ctx context.Context) {
		const ns = "callers"
		namespace(ctx, ns)
		caller := pod(ns, "till-0", map[string]string{"app": "till"})
		caller.Annotations = map[string]string{axlev1.DesiredAnnotation: `{"generation":1,"version":"v1"}`}
		Expect(cluster.Create(ctx, caller)).To(Succeed())
		caller.Status.Phase, caller.Status.PodIP = corev1.PodRunning, "127.0.0.1"
		Expect(cluster.Status().Update(ctx, caller)).To(Succeed())
		leader := start("axle-operator-9", true)
		DeferCleanup(func() { leader.stop() })

		bearer, _, err := ring.Keys().SignBearer(identity.Sidecar{PodUID: string(caller.UID), Namespace: ns, Pod: caller.Name, Container: "axle-g1"}, time.Now())
		Expect(err).NotTo(HaveOccurred())
		str, err := leader.ads.DeltaAggregatedResources(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+bearer))
		Expect(err).NotTo(HaveOccurred())
		Expect(str.Send(&discoveryv3.DeltaDiscoveryRequest{
			Node: &corev3.Node{Id: string(caller.UID)}, TypeUrl: resource.ListenerType, ResourceNamesSubscribe: []string{"*"},
		})).To(Succeed())
		told := func() map[string]any {
			GinkgoHelper()
			resp, err := str.Recv()
			Expect(err).NotTo(HaveOccurred())
			Expect(str.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()})).To(Succeed())
			for _, r := range resp.GetResources() {
				if r.GetName() == "outbound/http" {
					l := &listenerv3.Listener{}
					Expect(r.GetResource().UnmarshalTo(l)).To(Succeed())
					return l.GetMetadata().GetFilterMetadata()["axlemesh.io"].AsMap()["labels"].(map[string]any)
				}
			}
			return nil
		}
		Expect(told()).To(Equal(map[string]any{"app": "till"}))
		caller.Labels["app"], caller.Labels["tier"] = "cashier", "gold"
		Expect(cluster.Update(ctx, caller)).To(Succeed())
		Expect(told()).To(Equal(map[string]any{"app": "cashier", "tier": "gold"}))
	})
})
