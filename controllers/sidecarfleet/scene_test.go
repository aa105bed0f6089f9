package sidecarfleet_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/identity"
)

var scenes int

// scene is a labelled namespace, a fleet for it alone, and pods of one workload in it.
type scene struct {
	name  string
	first string
}

// newScene begins without a sidecar anywhere: the namespace has no label yet.
func newScene(ctx context.Context, pods int) *scene {
	GinkgoHelper()
	scenes++
	s := &scene{name: fmt.Sprintf("scene-%d", scenes)}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.name, Labels: map[string]string{"scene": s.name}}}
	Expect(cluster.Create(ctx, ns)).To(Succeed())
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: "pay"}}
	svc.Spec.Selector = map[string]string{"app": "pay"}
	svc.Spec.Ports = []corev1.ServicePort{{Name: "rpc", Port: 12200, AppProtocol: new("bolt")}}
	Expect(cluster.Create(ctx, svc)).To(Succeed())
	for i := range pods {
		s.addPod(ctx, fmt.Sprintf("pay-%d", i), nil)
	}
	s.first = s.version(ctx, "v1")
	fleet := &axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
	fleet.Spec.Version = s.first
	fleet.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"scene": s.name}}
	fleet.Spec.UpdateStrategy.MaxUpdating = new(intstr.FromInt32(1))
	fleet.Spec.UpdateStrategy.Analysis.Interval = &metav1.Duration{Duration: 100 * time.Millisecond}
	Expect(cluster.Create(ctx, fleet)).To(Succeed())
	DeferCleanup(func(ctx context.Context) { _ = cluster.Delete(ctx, fleet) })
	return s
}

// version makes a SidecarVersion for this scene; its name begins with what its sidecars do.
func (s *scene) version(ctx context.Context, does string) string {
	GinkgoHelper()
	v := &axlev1.SidecarVersion{ObjectMeta: metav1.ObjectMeta{Name: does + "-" + s.name}}
	v.Spec.Image = "registry.example/axle-sidecar@sha256:" + fmt.Sprintf("%064x", scenes)
	v.Spec.HandoverProtocol = axlev1.VersionRange{Min: 1, Max: 1}
	v.Spec.Protocols = []axlev1.Protocol{axlev1.ProtocolTCP, axlev1.ProtocolBolt}
	Expect(cluster.Create(ctx, v)).To(Succeed())
	return v.Name
}

func (s *scene) addPod(ctx context.Context, name string, change func(*corev1.Pod)) {
	GinkgoHelper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: name, Labels: map[string]string{"app": "pay"}}}
	pod.Spec.NodeName = "node-1"
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/pay"}}
	if change != nil {
		change(pod)
	}
	Expect(cluster.Create(ctx, pod)).To(Succeed())
	pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, "127.0.0.1"
	pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
	for _, c := range pod.Spec.InitContainers {
		pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses,
			corev1.ContainerStatus{Name: c.Name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
	}
	Expect(cluster.Status().Update(ctx, pod)).To(Succeed())
}

func (s *scene) label(ctx context.Context, value any) {
	GinkgoHelper()
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, axlev1.InjectionLabel, value)
	if value == nil {
		patch = fmt.Sprintf(`{"metadata":{"labels":{%q:null}}}`, axlev1.InjectionLabel)
	}
	Expect(cluster.Patch(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.name}}, merge(patch))).To(Succeed())
}

func merge(patch string) client.Patch {
	return client.RawPatch("application/merge-patch+json", []byte(patch))
}

// roll is what a person types.
func (s *scene) roll(ctx context.Context, version string) {
	GinkgoHelper()
	fleet := &axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
	Expect(cluster.Patch(ctx, fleet, merge(fmt.Sprintf(`{"spec":{"version":%q}}`, version)))).To(Succeed())
}

func (s *scene) fleet(ctx context.Context) *axlev1.SidecarFleet {
	GinkgoHelper()
	fleet := &axlev1.SidecarFleet{}
	Expect(cluster.Get(ctx, client.ObjectKey{Name: s.name}, fleet)).To(Succeed())
	return fleet
}

func (s *scene) condition(ctx context.Context, kind string) string {
	GinkgoHelper()
	c := meta.FindStatusCondition(s.fleet(ctx).Status.Conditions, kind)
	if c == nil {
		return ""
	}
	return string(c.Status) + "/" + c.Reason + ": " + c.Message
}

// serving lists, pod by pod, "generation version phase" of what serves.
func (s *scene) serving(ctx context.Context) []string {
	GinkgoHelper()
	var pods corev1.PodList
	Expect(cluster.List(ctx, &pods, client.InNamespace(s.name))).To(Succeed())
	var all []string
	for i := range pods.Items {
		st, err := axlev1.ParseStatus(pods.Items[i].Annotations)
		Expect(err).NotTo(HaveOccurred())
		if st == nil {
			all = append(all, "none")
			continue
		}
		all = append(all, fmt.Sprintf("%d %s %s", st.Generation, st.Version, st.Phase))
	}
	return all
}

func (s *scene) pod(ctx context.Context, name string) *corev1.Pod {
	GinkgoHelper()
	pod := &corev1.Pod{}
	Expect(cluster.Get(ctx, client.ObjectKey{Namespace: s.name, Name: name}, pod)).To(Succeed())
	return pod
}

// eventsOf lists the reasons of the events about a pod.
func (s *scene) eventsOf(ctx context.Context, pod string) []string {
	GinkgoHelper()
	var list eventsv1.EventList
	Expect(cluster.List(ctx, &list, client.InNamespace(s.name))).To(Succeed())
	var all []string
	for _, e := range list.Items {
		if e.Regarding.Name == pod {
			all = append(all, e.Reason)
		}
	}
	slices.Sort(all)
	return all
}

// settled waits until every pod serves so, and the fleet has nothing left to do.
func (s *scene) settled(ctx context.Context, serving ...string) {
	GinkgoHelper()
	Eventually(s.serving).WithContext(ctx).Should(HaveExactElements(toAny(serving)...))
	Eventually(s.condition).WithContext(ctx).WithArguments(axlev1.ConditionProgressing).Should(HavePrefix("False/Complete"))
}

func toAny(all []string) []any {
	out := make([]any, len(all))
	for i, v := range all {
		out[i] = v
	}
	return out
}

// watch subscribes to the endpoints of the scene's service as pod pay-0, and returns a function that waits for the next list of them.
func (s *scene) watch(ctx context.Context) func() []string {
	GinkgoHelper()
	pod := s.pod(ctx, "pay-0")
	who := identity.Sidecar{PodUID: string(pod.UID), Namespace: s.name, Pod: pod.Name, Container: "axle-g1"}
	bearer, _, err := ring.Keys().SignBearer(who, time.Now())
	Expect(err).NotTo(HaveOccurred())
	conn, err := grpc.NewClient(op.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(conn.Close)
	// The stream lives as long as the spec, and no wait on it is longer than this.
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.WithoutCancel(ctx), "authorization", "Bearer "+bearer), time.Minute)
	DeferCleanup(cancel)
	str, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	Expect(err).NotTo(HaveOccurred())
	name := fmt.Sprintf("outbound/%s/pay/12200", s.name)
	Expect(str.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: who.PodUID}, TypeUrl: resource.EndpointType, ResourceNamesSubscribe: []string{name},
	})).To(Succeed())
	var last []string
	return func() []string {
		GinkgoHelper()
		for {
			r, err := str.Recv()
			Expect(err).NotTo(HaveOccurred())
			Expect(str.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})).To(Succeed())
			now := []string{}
			for _, x := range r.GetResources() {
				cla := &endpointv3.ClusterLoadAssignment{}
				Expect(x.GetResource().UnmarshalTo(cla)).To(Succeed())
				for _, l := range cla.GetEndpoints() {
					for _, e := range l.GetLbEndpoints() {
						a := e.GetEndpoint().GetAddress().GetSocketAddress()
						now = append(now, fmt.Sprintf("%s:%d", a.GetAddress(), a.GetPortValue()))
					}
				}
			}
			if len(now) > 0 && !slices.Equal(now, last) {
				last = now
				return now
			}
		}
	}
}
