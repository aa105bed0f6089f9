package inject

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/api/membership"
	"github.com/axlemesh/axle/api/v1alpha1"
)

// What the slots of a pod share, and nobody else mounts.
const (
	runVolume = "axle-run" // lock, sockets: outlives both slots, dies with the pod
	podVolume = "axle-pod" // the slots annotation and the token, as files
	runDir    = "/var/run/axle"
	podDir    = "/etc/axle"
	slotsFile = "slots"
	tokenFile = "token"
	// handoverSocket is in the 0700 folder that the slots make below runDir, which the application cannot even see.
	handoverSocket = runDir + "/run/handover.sock"
	// tokenSeconds is how long a token is good; the kubelet renews it long before.
	tokenSeconds = 3600
)

// The first generations of a pod: axle-a serves, and axle-b, which idles, is the lower one.
const (
	idleGeneration    = 1
	servingGeneration = 2
)

// slotReady is what the kubelet runs before it starts the next container. It is a permanent contract of every sidecar image: only a slot's
// image ever changes.
var slotReady = []string{"/axle-sidecar", "slot-ready"}

// localVolumes lists the volumes that the cluster autoscaler may lose.
const localVolumes = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"

// SlotsInput is everything that the slots of a new pod depend on.
type SlotsInput struct {
	// Pod that is being created, with its namespace. It may have neither a name nor a UID.
	Pod *corev1.Pod
	// Fleet that owns it.
	Fleet string
	// Version to run; it is known by digest.
	Version *v1alpha1.SidecarVersion
	// Ports to serve: membership.PortsAtCreation.
	Ports []v1alpha1.PortSpec
	// Operator is where the slots will ask for their configuration.
	Operator bootstrap.Operator
}

// RenderSlots returns the pod with its two slots, or, where the report says that there are none, as it was but for an annotation that says why.
// A pod that has been through here before, this time or as the pod that it was copied from, is rendered anew.
//
// The slots are the first of the init containers, so that those of the pod itself can use the mesh: a migration calls through the sidecar
// like the application does. A slot that starts holds the others up for 5 s at most.
//
// The emptyDir keeps the cluster autoscaler from removing the pod's node, which it could remove before, so the volume is always added to the list of
// those that may be lost. Other local volumes of the pod that are not on that list go on keeping its node.
func RenderSlots(in SlotsInput) (*corev1.Pod, Report) {
	pod := in.Pod.DeepCopy()
	strip(pod)
	if r := skipAtCreation(pod); !r.OK() {
		annotate(pod, v1alpha1.SkippedAnnotation, r.Denied[0].String())
		return pod, r
	}
	resources, warned := slotResources(pod, in.Version)
	r := Report{Warnings: append(slotWarnings(pod, in.Ports), warned...)}
	if err := place(pod, in, resources); err != nil {
		r.Denied = append(r.Denied, Finding{VersionUnresolved, err.Error()})
		return in.Pod, r
	}
	if len(r.Warnings) > 0 {
		said := make([]string, 0, len(r.Warnings))
		for _, f := range r.Warnings {
			said = append(said, f.String())
		}
		annotate(pod, v1alpha1.WarningsAnnotation, strings.Join(said, "; "))
	}
	return pod, r
}

func place(pod *corev1.Pod, in SlotsInput, resources corev1.ResourceRequirements) error {
	slots := v1alpha1.PodSlots{
		Serving: servingGeneration,
		A:       v1alpha1.PodSlot{Generation: servingGeneration, Version: in.Version.Name},
		B:       v1alpha1.PodSlot{Generation: idleGeneration, Version: in.Version.Name},
	}
	told := ""
	if p := membership.TakenOver(in.Ports); p != nil {
		told = strconv.Itoa(int(p.AppPort))
	}
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			mark(&containers[i], told)
		}
	}
	var rendered []corev1.Container
	for _, s := range []struct {
		name, container string
		generation      int64
	}{{"a", v1alpha1.SlotA, slots.A.Generation}, {"b", v1alpha1.SlotB, slots.B.Generation}} {
		image, err := SlotImage(in.Version, s.generation)
		if err != nil {
			return err
		}
		env, err := slotEnvironment(pod, in, s.name, s.container, told)
		if err != nil {
			return err
		}
		rendered = append(rendered, slot(s.container, image, env, *resources.DeepCopy()))
	}
	pod.Spec.InitContainers = append(rendered, pod.Spec.InitContainers...)
	pod.Spec.Volumes = append(pod.Spec.Volumes, slotVolumes()...)
	desired := v1alpha1.PodDesired{Fleet: in.Fleet, Generation: servingGeneration, Version: in.Version.Name, Ports: in.Ports}
	for key, value := range map[string]any{v1alpha1.SlotsAnnotation: slots, v1alpha1.DesiredAnnotation: desired} {
		raw, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("encode annotation %s: %w", key, err)
		}
		annotate(pod, key, string(raw))
	}
	if lost := pod.Annotations[localVolumes]; lost == "" {
		annotate(pod, localVolumes, runVolume)
	} else if !slices.Contains(strings.Split(lost, ","), runVolume) {
		annotate(pod, localVolumes, lost+","+runVolume)
	}
	return nil
}

// slot is one of the two containers; they are alike but for their names and generations. There is no command, for only the image can change
// later, and no probe: with one the pod would be unready for a period with each upgrade.
func slot(name, image string, env []corev1.EnvVar, resources corev1.ResourceRequirements) corev1.Container {
	return corev1.Container{
		Name:            name,
		Image:           image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Args:            []string{"slot"},
		Env:             env,
		Resources:       resources,
		RestartPolicy:   ptr.To(corev1.ContainerRestartPolicyAlways),
		Lifecycle: &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{
			Exec: &corev1.ExecAction{Command: slices.Clone(slotReady)},
		}},
		SecurityContext:          securityContext(),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		VolumeMounts: []corev1.VolumeMount{
			{Name: runVolume, MountPath: runDir},
			{Name: podVolume, MountPath: podDir, ReadOnly: true},
		},
	}
}

func slotVolumes() []corev1.Volume {
	return []corev1.Volume{
		{Name: runVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: podVolume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path:     slotsFile,
				FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.annotations['" + v1alpha1.SlotsAnnotation + "']"},
			}}}},
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
				Audience: v1alpha1.TokenAudience, ExpirationSeconds: ptr.To[int64](tokenSeconds), Path: tokenFile,
			}},
		}}}},
	}
}

// Variables by which the kubelet tells a slot what nobody knows when a pod is created.
const (
	podUIDEnv  = "AXLE_POD_UID"
	podNameEnv = "AXLE_POD_NAME"
	podIPEnv   = "AXLE_POD_IP"
	zoneEnv    = "AXLE_ZONE"
)

// slotEnvironment never changes, so it says nothing of the generation and of the version; the slot reads those from its file. The runtime's
// memory target follows from the limit of the container, which does not change either.
func slotEnvironment(pod *corev1.Pod, in SlotsInput, name, container, told string) ([]corev1.EnvVar, error) {
	memory := memoryTarget(in.Version)
	operator := in.Operator
	boot, err := json.Marshal(bootstrap.Bootstrap{
		Node: bootstrap.Node{
			ID: "$(" + podUIDEnv + ")", Namespace: pod.Namespace, Pod: "$(" + podNameEnv + ")", IP: "$(" + podIPEnv + ")", Container: container,
			Zone: "$(" + zoneEnv + ")",
		},
		Operator:                &operator,
		Handover:                bootstrap.Handover{Socket: handoverSocket},
		Slot:                    &bootstrap.Slot{Name: name, Dir: runDir, File: podDir + "/" + slotsFile, TokenFile: podDir + "/" + tokenFile},
		MemoryLimitBytes:        memory,
		TerminationGraceSeconds: ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, 0),
	})
	if err != nil {
		return nil, fmt.Errorf("encode the bootstrap of container %q: %w", container, err)
	}
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
	}
	env := []corev1.EnvVar{
		field(podUIDEnv, "metadata.uid"), field(podNameEnv, "metadata.name"), field(podIPEnv, "status.podIP"), // before what refers to them
		field(zoneEnv, "metadata.labels['"+corev1.LabelTopologyZone+"']"), // empty where the API server does not set the label
		{Name: bootstrap.Env, Value: string(boot)},
		{Name: "GOMEMLIMIT", Value: strconv.FormatInt(memory, 10)},
	}
	if told != "" {
		env = append(env, corev1.EnvVar{Name: v1alpha1.AppPortEnv, Value: told}) // membership.Told reads it here
	}
	return env, nil
}

// mark puts what the application may look for before its own variables, which can refer to it.
func mark(c *corev1.Container, told string) {
	marks := []corev1.EnvVar{{Name: v1alpha1.MarkerEnv, Value: "1"}}
	if told != "" {
		marks = append(marks, corev1.EnvVar{Name: v1alpha1.AppPortEnv, Value: told})
	}
	c.Env = slices.DeleteFunc(c.Env, func(e corev1.EnvVar) bool {
		return slices.ContainsFunc(marks, func(m corev1.EnvVar) bool { return m.Name == e.Name })
	})
	c.Env = append(marks, c.Env...)
}

// strip takes away what an earlier rendering left: of this pod, when another webhook changed it meanwhile, or of the pod that it is a copy of.
func strip(pod *corev1.Pod) {
	for _, key := range []string{
		v1alpha1.SlotsAnnotation, v1alpha1.DesiredAnnotation, v1alpha1.StatusAnnotation, v1alpha1.SkippedAnnotation, v1alpha1.WarningsAnnotation,
	} {
		delete(pod.Annotations, key)
	}
	if !rendered(pod) {
		return
	}
	told := membership.Told(pod) != 0
	pod.Spec.InitContainers = slices.DeleteFunc(pod.Spec.InitContainers, func(c corev1.Container) bool {
		return c.Name == v1alpha1.SlotA || c.Name == v1alpha1.SlotB
	})
	pod.Spec.Volumes = slices.DeleteFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == runVolume || v.Name == podVolume })
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			containers[i].Env = slices.DeleteFunc(containers[i].Env, func(e corev1.EnvVar) bool {
				return e.Name == v1alpha1.MarkerEnv || told && e.Name == v1alpha1.AppPortEnv
			})
		}
	}
}

// rendered says whether a pod has both slots, and as they are rendered here.
func rendered(pod *corev1.Pod) bool {
	found := 0
	for _, c := range pod.Spec.InitContainers {
		if (c.Name == v1alpha1.SlotA || c.Name == v1alpha1.SlotB) && slices.Equal(c.Args, []string{"slot"}) && len(c.Command) == 0 {
			found++
		}
	}
	return found == 2
}

func annotate(pod *corev1.Pod, key, value string) {
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[key] = value
}
