package inject

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/axlemesh/axle/api/membership"
	"github.com/axlemesh/axle/api/v1alpha1"
)

// Reason is one word for why a pod is left alone. It is part of what users see:
// in the pod's annotation, in events and in counters.
type Reason string

// The reasons.
const (
	BadStub            Reason = "BadStub"            // the stub asks for something that is not rendered
	Disabled           Reason = "Disabled"           // the pod's label says so
	Finished           Reason = "Finished"           // the pod's containers have ended
	HostNetwork        Reason = "HostNetwork"        // the node's ports and sockets are not the pod's
	NameConflict       Reason = "NameConflict"       // the pod has a container or volume of a name that is Axle's
	NoAccount          Reason = "NoAccount"          // the pod has no service account
	NoAddress          Reason = "NoAddress"          // the pod has no IP yet
	PortConflict       Reason = "PortConflict"       // a mesh port is one of the application's
	ProtectedNamespace Reason = "ProtectedNamespace" // the cluster's own pods
	StaticPod          Reason = "StaticPod"          // it belongs to a kubelet, not to the API server
	Terminating        Reason = "Terminating"        // the pod is being deleted
	VersionMissing     Reason = "VersionMissing"     // no such SidecarVersion
	VersionUnresolved  Reason = "VersionUnresolved"  // its image is not known by digest yet
	Windows            Reason = "Windows"            // sidecars are Linux programs
)

// Reasons of warnings.
const (
	SameUser   Reason = "SameUser"   // the application runs as the sidecar's user
	BestEffort Reason = "BestEffort" // the pod reserves nothing, so the sidecar has nothing either
	Guaranteed Reason = "Guaranteed" // limits equal requests, so the sidecar's CPU is limited
	PodBudget  Reason = "PodBudget"  // the pod as a whole has a budget, in which the sidecar has no share
	ProbedPort Reason = "ProbedPort" // a probe asks a port that the sidecar has taken over
)

// Finding is one thing found, with a sentence for a person.
type Finding struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
}

// String is how annotations, events and errors say it.
func (f Finding) String() string { return string(f.Reason) + ": " + f.Message }

// Report says what came of a pod.
type Report struct {
	// Denied lists why there is no sidecar; empty when there is one.
	Denied []Finding `json:"denied,omitempty"`
	// Warnings list what its owner should know although there is one.
	Warnings []Finding `json:"warnings,omitempty"`
}

// OK says whether a sidecar was rendered.
func (r Report) OK() bool { return len(r.Denied) == 0 }

// Err is nil when a sidecar was rendered, else all the reasons why not.
func (r Report) Err() error {
	errs := make([]error, 0, len(r.Denied))
	for _, f := range r.Denied {
		errs = append(errs, errors.New(f.String()))
	}
	return errors.Join(errs...)
}

// mirrorAnnotation marks the API server's picture of a kubelet's own pod.
const mirrorAnnotation = "kubernetes.io/config.mirror"

// Skip says why a pod cannot have a sidecar in place, whatever the version; nil
// when it can. NoAddress passes by itself, the others stay.
func Skip(pod *corev1.Pod) []Finding {
	out := barred(pod)
	add := func(when bool, reason Reason, message string) {
		if when {
			out = append(out, Finding{reason, message})
		}
	}
	add(pod.DeletionTimestamp != nil, Terminating, "the pod is being deleted")
	finished := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	add(finished, Finished, fmt.Sprintf("the pod has ended (%s)", pod.Status.Phase))
	add(!finished && pod.Status.PodIP == "", NoAddress, "the pod has no IP address yet")
	return out
}

// barred says why a pod never gets a sidecar, neither at its creation nor in place.
func barred(pod *corev1.Pod) []Finding {
	var out []Finding
	add := func(when bool, reason Reason, message string) {
		if when {
			out = append(out, Finding{reason, message})
		}
	}
	add(pod.Namespace == "kube-system", ProtectedNamespace, "pods of kube-system are never touched")
	add(pod.Labels[v1alpha1.InjectionLabel] == v1alpha1.InjectionDisabled, Disabled,
		"the pod's label "+v1alpha1.InjectionLabel+" is "+v1alpha1.InjectionDisabled)
	add(pod.Annotations[mirrorAnnotation] != "", StaticPod,
		"a static pod belongs to its kubelet: no container can be added to it")
	add(onWindows(pod), Windows, "the pod runs on Windows, the sidecar on Linux")
	add(pod.Spec.HostNetwork, HostNetwork,
		"the pod shares its node's network: the sidecar's ports and sockets would be open to the whole node")
	return out
}

func onWindows(pod *corev1.Pod) bool {
	if pod.Spec.OS != nil {
		return pod.Spec.OS.Name == corev1.Windows
	}
	return pod.Spec.NodeSelector[corev1.LabelOSStable] == string(corev1.Windows)
}

// portConflicts compares the mesh ports that the pod is to get with the ports
// that its own containers declare. Undeclared ones show when the sidecar binds.
func portConflicts(pod *corev1.Pod) []Finding {
	desired, err := v1alpha1.ParseDesired(pod.Annotations)
	if err != nil {
		return []Finding{{BadStub, fmt.Sprintf("pod %s/%s: %v", pod.Namespace, pod.Name, err)}}
	}
	if desired == nil {
		return nil
	}
	var out []Finding
	for _, port := range desired.Ports {
		if owner := membership.PortOwner(pod, port.Mesh()); owner != "" && !port.Takeover {
			out = append(out, Finding{PortConflict, fmt.Sprintf(
				"mesh port %d for application port %d is a port of container %q: set spec.ports[].meshPort in the fleet",
				port.Mesh(), port.AppPort, owner)})
		}
	}
	return out
}

// extraFields names what a container has that a stub has not. The API server's
// own defaults (pull policy, termination message) are nobody's wish.
func extraFields(c corev1.EphemeralContainer) []string {
	var out []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"args", len(c.Args) > 0},
		{"command", len(c.Command) > 0},
		{"envFrom", len(c.EnvFrom) > 0},
		{"lifecycle", c.Lifecycle != nil},
		{"ports", len(c.Ports) > 0},
		{"probes", c.LivenessProbe != nil || c.ReadinessProbe != nil || c.StartupProbe != nil},
		{"resources", len(c.Resources.Limits)+len(c.Resources.Requests)+len(c.Resources.Claims) > 0},
		{"restartPolicy", c.RestartPolicy != nil || len(c.RestartPolicyRules) > 0},
		{"securityContext", c.SecurityContext != nil},
		{"stdin or tty", c.Stdin || c.StdinOnce || c.TTY},
		{"targetContainerName", c.TargetContainerName != ""},
		{"volumeDevices", len(c.VolumeDevices) > 0},
		{"volumeMounts", len(c.VolumeMounts) > 0},
		{"workingDir", c.WorkingDir != ""},
	} {
		if f.set {
			out = append(out, f.name)
		}
	}
	return out
}

func warnings(pod *corev1.Pod, v *v1alpha1.SidecarVersion) []Finding {
	var out []Finding
	if names := runAs(pod, UserID); len(names) > 0 {
		out = append(out, sameUser(names))
	}
	if pod.Status.QOSClass == corev1.PodQOSBestEffort {
		out = append(out, Finding{BestEffort, "the pod reserves no CPU or memory, so its sidecar runs on what is left over"})
	}
	if v != nil && !strings.Contains(v.Spec.Image, "@") {
		out = append(out, Finding{VersionUnresolved, fmt.Sprintf(
			"SidecarVersion %q names its image by a tag; the digest that the tag had when it was resolved is used", v.Name)})
	}
	return out
}

func sameUser(containers []string) Finding {
	return Finding{SameUser, fmt.Sprintf(
		"container %s runs as user %d like the sidecar: in a shared process namespace it could signal and trace it",
		strings.Join(containers, ", "), UserID)}
}

// runAs names the containers that run as a user by what the pod's spec says.
func runAs(pod *corev1.Pod, uid int64) []string {
	var podUser *int64
	if pod.Spec.SecurityContext != nil {
		podUser = pod.Spec.SecurityContext.RunAsUser
	}
	var out []string
	for _, c := range pod.Spec.Containers {
		user := podUser
		if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
			user = c.SecurityContext.RunAsUser
		}
		if user != nil && *user == uid {
			out = append(out, fmt.Sprintf("%q", c.Name))
		}
	}
	return out
}
