package inject

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/axlemesh/axle/api/membership"
	"github.com/axlemesh/axle/api/v1alpha1"
)

// skipAtCreation says why a pod is created without slots. The names are asked after what an earlier rendering left is gone.
func skipAtCreation(pod *corev1.Pod) Report {
	r := Report{Denied: barred(pod)}
	conflict := func(what, name string) {
		r.Denied = append(r.Denied, Finding{NameConflict, fmt.Sprintf(
			"the pod has a %s %q of its own; names that start with %q are Axle's", what, name, v1alpha1.ContainerPrefix)})
	}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range containers {
			if strings.HasPrefix(c.Name, v1alpha1.ContainerPrefix) {
				conflict("container", c.Name)
			}
		}
	}
	if pod.Spec.ServiceAccountName == "" { // in a cluster that gives pods none; the API server would refuse the volume with its token
		r.Denied = append(r.Denied, Finding{NoAccount, "the pod has no service account, as which its slots could join"})
	}
	for _, v := range pod.Spec.Volumes {
		if v.Name == runVolume || v.Name == podVolume {
			conflict("volume", v.Name)
		}
	}
	return r
}

// slotWarnings say what the owner of a pod that gets slots should know of it.
func slotWarnings(pod *corev1.Pod, ports []v1alpha1.PortSpec) []Finding {
	var out []Finding
	if names := runAs(pod, UserID); len(names) > 0 {
		out = append(out, sameUser(names))
	}
	taken := membership.TakenOver(ports)
	if taken == nil {
		return out
	}
	for _, c := range pod.Spec.Containers {
		if probes(c, taken.MeshPort) {
			out = append(out, Finding{ProbedPort, fmt.Sprintf(
				"a probe of container %q asks port %d, which the sidecar takes over: it says whether the sidecar listens, not whether the application "+
					"does on port %d", c.Name, taken.MeshPort, taken.AppPort)})
		}
	}
	return out
}

// probes says whether a probe of a container asks one of its ports.
func probes(c corev1.Container, port int32) bool {
	is := func(p intstr.IntOrString) bool {
		if p.Type == intstr.Int {
			return p.IntVal == port
		}
		for _, named := range c.Ports {
			if named.Name == p.StrVal {
				return named.ContainerPort == port
			}
		}
		return false
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p == nil {
			continue
		}
		if p.HTTPGet != nil && is(p.HTTPGet.Port) || p.TCPSocket != nil && is(p.TCPSocket.Port) || p.GRPC != nil && p.GRPC.Port == port {
			return true
		}
	}
	return false
}
