package inject

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/axlemesh/axle/api/v1alpha1"
)

// What a slot reserves where its version does not say; the API's own defaults.
const (
	defaultCPURequest    = 50       // thousandths of a core
	defaultMemoryRequest = 32 << 20 // bytes
)

// cpuCeiling, in thousandths of a core, is the limit of a slot whose version sets none, in a pod all of whose containers have one: a quota on
// limits refuses pods with a container that has none.
const cpuCeiling = 1000

// guaranteedCPU, in thousandths of a core, is the least that a slot of a Guaranteed pod reserves and is limited to where its version sets no limit.
// With less, the kernel makes it wait for most of every tenth of a second at each burst, such as its own start.
const guaranteedCPU = 200

const slotCount = 2

var computed = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// slotResources are those of each slot of a pod that has none yet. Requests are always there, for autoscalers leave out pods with a container
// that lacks them; where the pod as a whole has a budget without room for them they are zero.
func slotResources(pod *corev1.Pod, v *v1alpha1.SidecarVersion) (corev1.ResourceRequirements, []Finding) {
	requests, limits := wished(v)
	if budget := pod.Spec.Resources; budget != nil && len(budget.Requests)+len(budget.Limits) > 0 {
		return withinBudget(pod, requests, limits)
	}
	var found []Finding
	switch qos(pod) {
	case corev1.PodQOSGuaranteed:
		if _, ok := limits[corev1.ResourceCPU]; !ok {
			limits[corev1.ResourceCPU] = requests[corev1.ResourceCPU]
			if least := resource.NewMilliQuantity(guaranteedCPU, resource.DecimalSI); requests.Cpu().Cmp(*least) < 0 {
				limits[corev1.ResourceCPU] = *least
			}
			found = append(found, Finding{Guaranteed, fmt.Sprintf(
				"the pod is Guaranteed, so each slot is limited to the %s of CPU that it reserves; limits.cpu of a SidecarVersion raises both",
				limits.Cpu())})
		}
		requests = limits.DeepCopy()
	case corev1.PodQOSBestEffort:
		found = append(found, Finding{BestEffort, fmt.Sprintf(
			"the pod reserves no CPU or memory; each of its slots reserves %s of CPU and %s of memory, which makes it Burstable",
			requests.Cpu(), requests.Memory())})
	}
	if _, ok := limits[corev1.ResourceCPU]; !ok && allLimitCPU(pod) {
		limits[corev1.ResourceCPU] = *resource.NewMilliQuantity(cpuCeiling, resource.DecimalSI)
	}
	return bounded(requests, limits), found
}

// wished is what the version says, with what is missing filled in. There is always a limit of memory.
func wished(v *v1alpha1.SidecarVersion) (requests, limits corev1.ResourceList) {
	requests = corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(defaultCPURequest, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(defaultMemoryRequest, resource.BinarySI),
	}
	limits = corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(defaultMemoryLimit, resource.BinarySI)}
	set := func(list corev1.ResourceList, name corev1.ResourceName, q *resource.Quantity) {
		if q != nil && q.Sign() > 0 {
			list[name] = *q
		}
	}
	asked := v.Spec.Resources
	set(requests, corev1.ResourceCPU, asked.Requests.CPU)
	set(requests, corev1.ResourceMemory, asked.Requests.Memory)
	set(limits, corev1.ResourceCPU, asked.Limits.CPU)
	set(limits, corev1.ResourceMemory, asked.Limits.Memory)
	return requests, limits
}

// bounded lowers requests that are above their limit: the API server would refuse the pod.
func bounded(requests, limits corev1.ResourceList) corev1.ResourceRequirements {
	for name, limit := range limits {
		if request, ok := requests[name]; ok && request.Cmp(limit) > 0 {
			requests[name] = limit
		}
	}
	return corev1.ResourceRequirements{Requests: requests, Limits: limits}
}

// withinBudget keeps the slots inside what the pod as a whole is given, which is left as it is: its owner says what the pod may cost.
// Requests that do not fit become zero, and the slots live on what the others leave of the pod's own.
func withinBudget(pod *corev1.Pod, requests, limits corev1.ResourceList) (corev1.ResourceRequirements, []Finding) {
	budget := pod.Spec.Resources
	for name, limit := range budget.Limits {
		if own, ok := limits[name]; ok && own.Cmp(limit) > 0 {
			limits[name] = limit
		}
	}
	r := bounded(requests, limits)
	var tight []string
	for _, name := range computed {
		room, ok := budget.Requests[name]
		if !ok {
			room, ok = budget.Limits[name]
		}
		if !ok {
			continue
		}
		room = room.DeepCopy()
		room.Sub(aggregate(pod, name))
		for range slotCount {
			room.Sub(r.Requests[name])
		}
		if room.Sign() < 0 {
			r.Requests[name] = *resource.NewQuantity(0, resource.DecimalSI) // said, for it would default to the limit
			tight = append(tight, string(name))
		}
	}
	if len(tight) == 0 {
		return r, nil
	}
	return r, []Finding{{PodBudget, fmt.Sprintf(
		"what the pod as a whole requests has no room for the %s of its slots: they request none and live on what its containers leave",
		strings.Join(tight, " and "))}}
}

// aggregate is what the containers of a pod request at most at one time, as the scheduler counts it.
func aggregate(pod *corev1.Pod, name corev1.ResourceName) resource.Quantity {
	var together, restarted, peak resource.Quantity
	for _, c := range pod.Spec.Containers {
		together.Add(requested(c, name))
	}
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			restarted.Add(requested(c, name))
			continue
		}
		alone := restarted.DeepCopy()
		alone.Add(requested(c, name))
		if alone.Cmp(peak) > 0 {
			peak = alone
		}
	}
	together.Add(restarted)
	if peak.Cmp(together) > 0 {
		return peak
	}
	return together
}

// requested by a container: a limit without a request is one too.
func requested(c corev1.Container, name corev1.ResourceName) resource.Quantity {
	if q, ok := c.Resources.Requests[name]; ok {
		return q
	}
	return c.Resources.Limits[name]
}

// qos is the class that the containers of a pod give it. The pod's status does not say it yet.
func qos(pod *corev1.Pod) corev1.PodQOSClass {
	guaranteed, nothing := true, true
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for _, c := range containers {
			for _, name := range computed {
				request, limit := requested(c, name), c.Resources.Limits[name]
				nothing = nothing && request.IsZero() && limit.IsZero()
				guaranteed = guaranteed && !limit.IsZero() && request.Cmp(limit) == 0
			}
		}
	}
	switch {
	case nothing:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func allLimitCPU(pod *corev1.Pod) bool {
	for _, c := range pod.Spec.Containers {
		if c.Resources.Limits.Cpu().IsZero() {
			return false
		}
	}
	return true
}
