// Package inject renders sidecars: a pod and the stub that asks for one go in,
// the finished container and the reasons come out; or a pod that is being
// created, and out comes the pod with its two slots. It reads nothing, writes
// nothing and knows no clock, so that what a pod gets can be seen in a golden
// file before it is seen in a pod.
//
// It is the only place that renders a sidecar container (the webhook calls it),
// and the one place that says which pods cannot have one (the controllers ask
// it before they send a stub).
package inject

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/api/v1alpha1"
)

// UserID is the user and group that every sidecar runs as. Sidecars of one pod
// recognise each other by it.
const UserID = 65532

// Input is everything that a rendered sidecar depends on.
type Input struct {
	// Pod as the API server has it.
	Pod *corev1.Pod
	// Stub is the ephemeral container that asks for a sidecar.
	Stub corev1.EphemeralContainer
	// Version that the stub names; nil when there is none.
	Version *v1alpha1.SidecarVersion
	// Operator is where the sidecar will ask for its configuration.
	Operator bootstrap.Operator
	// JoinToken is what it proves itself with, once.
	JoinToken string
}

// Render turns the stub into the sidecar of exactly the version that it names.
// The container is meaningless unless the report is OK.
func Render(in Input) (corev1.EphemeralContainer, Report) {
	r := Report{Denied: Skip(in.Pod)}
	stub, findings := ParseStub(in.Stub)
	r.Denied = append(r.Denied, findings...)
	image, findings := Image(stub.Version, in.Version)
	r.Denied = append(r.Denied, findings...)
	r.Denied = append(r.Denied, portConflicts(in.Pod)...)
	r.Warnings = warnings(in.Pod, in.Version)
	if !r.OK() {
		return corev1.EphemeralContainer{}, r
	}

	env, err := environment(in, stub)
	if err != nil {
		r.Denied = append(r.Denied, Finding{BadStub, err.Error()})
		return corev1.EphemeralContainer{}, r
	}
	return corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name:                     in.Stub.Name,
		Image:                    image,
		ImagePullPolicy:          corev1.PullIfNotPresent,
		Args:                     []string{"supervise"},
		Env:                      env,
		SecurityContext:          securityContext(),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}}, r
}

// Stub is what a stub container says.
type Stub struct {
	Version    string
	Generation int64
	Fleet      string
}

// NewStub makes the stub for one generation. Its image is never run: nothing
// but the webhook can make it a container that may start.
func NewStub(s Stub) corev1.EphemeralContainer {
	generation := strconv.FormatInt(s.Generation, 10)
	return corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name:  v1alpha1.InPlacePrefix + generation,
		Image: "axlemesh.io/stub",
		Env: []corev1.EnvVar{
			{Name: v1alpha1.StubVersionEnv, Value: s.Version},
			{Name: v1alpha1.StubGenerationEnv, Value: generation},
			{Name: v1alpha1.StubFleetEnv, Value: s.Fleet},
		},
	}}
}

// ParseStub reads a stub, or the sidecar that one became. A stub that carries
// anything but a name, an image and the three variables is refused: it asks for
// something that would not be rendered.
func ParseStub(c corev1.EphemeralContainer) (Stub, []Finding) {
	var s Stub
	var findings []Finding
	bad := func(format string, args ...any) {
		findings = append(findings, Finding{BadStub, fmt.Sprintf("container %q: ", c.Name) + fmt.Sprintf(format, args...)})
	}
	seen := map[string]bool{}
	for _, e := range c.Env {
		if e.ValueFrom != nil || seen[e.Name] {
			bad("variable %s must be set once, to a plain value", e.Name)
		}
		seen[e.Name] = true
		switch e.Name {
		case v1alpha1.StubVersionEnv:
			s.Version = e.Value
		case v1alpha1.StubFleetEnv:
			s.Fleet = e.Value
		case v1alpha1.StubGenerationEnv:
			n, err := strconv.ParseInt(e.Value, 10, 64)
			if err != nil || n < 1 {
				bad("%s is %q, not a number from 1", e.Name, e.Value)
			}
			s.Generation = n
		default:
			bad("variable %s is not one of a stub's", e.Name)
		}
	}
	for _, name := range []string{v1alpha1.StubVersionEnv, v1alpha1.StubGenerationEnv, v1alpha1.StubFleetEnv} {
		if !seen[name] {
			bad("variable %s is missing", name)
		}
	}
	if want := v1alpha1.InPlacePrefix + strconv.FormatInt(s.Generation, 10); s.Generation > 0 && c.Name != want {
		bad("generation %d belongs into container %q", s.Generation, want)
	}
	if fields := extraFields(c); len(fields) > 0 {
		bad("a stub has no %s", strings.Join(fields, ", "))
	}
	return s, findings
}

// IsStubName says whether a container's name is axle-g followed by a generation.
func IsStubName(name string) bool { return Generation(name) > 0 }

// Generation is the generation in a container's name; 0 when the name is not one of a sidecar in place.
func Generation(name string) int64 {
	digits, ok := strings.CutPrefix(name, v1alpha1.InPlacePrefix)
	if !ok || strings.HasPrefix(digits, "0") || strings.HasPrefix(digits, "+") {
		return 0
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 {
		return 0
	}
	return n
}

// Of reads which sidecar a rendered ephemeral container is; false when it is none.
func Of(c corev1.EphemeralContainer) (Stub, bool) {
	s := Stub{Generation: Generation(c.Name)}
	for _, e := range c.Env {
		switch e.Name {
		case v1alpha1.StubVersionEnv:
			s.Version = e.Value
		case v1alpha1.StubFleetEnv:
			s.Fleet = e.Value
		}
	}
	return s, s.Generation > 0 && s.Version != ""
}

// environment keeps the stub's variables (they say, in the pod's spec, which
// sidecar this is) and adds what the sidecar needs to start.
func environment(in Input, stub Stub) ([]corev1.EnvVar, error) {
	memory := memoryTarget(in.Version)
	operator := in.Operator
	boot, err := json.Marshal(bootstrap.Bootstrap{
		Node: bootstrap.Node{
			ID:         string(in.Pod.UID),
			Namespace:  in.Pod.Namespace,
			Pod:        in.Pod.Name,
			IP:         in.Pod.Status.PodIP,
			Zone:       in.Pod.Labels[corev1.LabelTopologyZone],
			Container:  in.Stub.Name,
			Version:    stub.Version,
			Generation: stub.Generation,
			InPlace:    true,
		},
		Operator:                &operator,
		MemoryLimitBytes:        memory,
		TerminationGraceSeconds: ptr.Deref(in.Pod.Spec.TerminationGracePeriodSeconds, 0),
	})
	if err != nil {
		return nil, fmt.Errorf("encode the bootstrap of container %q: %w", in.Stub.Name, err)
	}
	return []corev1.EnvVar{
		{Name: v1alpha1.StubVersionEnv, Value: stub.Version},
		{Name: v1alpha1.StubGenerationEnv, Value: strconv.FormatInt(stub.Generation, 10)},
		{Name: v1alpha1.StubFleetEnv, Value: stub.Fleet},
		{Name: bootstrap.Env, Value: string(boot)},
		{Name: bootstrap.JoinTokenEnv, Value: in.JoinToken},
		{Name: "GOMEMLIMIT", Value: strconv.FormatInt(memory, 10)},
	}, nil
}

// defaultMemoryLimit is what the API defaults limits.memory to.
const defaultMemoryLimit = 128 << 20

// memoryTarget is the runtime's soft memory limit: nine tenths of limits.memory.
// An ephemeral container has no limit of its own, so this is what keeps it small.
func memoryTarget(v *v1alpha1.SidecarVersion) int64 {
	limit := int64(defaultMemoryLimit)
	if m := v.Spec.Resources.Limits.Memory; m != nil && m.Value() > 0 {
		limit = m.Value()
	}
	return limit / 10 * 9
}

// securityContext passes Pod Security "restricted" whatever the pod says.
func securityContext() *corev1.SecurityContext {
	yes, no, id := true, false, int64(UserID)
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no,
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		ReadOnlyRootFilesystem:   &yes,
		RunAsGroup:               &id,
		RunAsNonRoot:             &yes,
		RunAsUser:                &id,
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// Image is the exact image of a version: its repository and the digest that was
// in its spec or was found when its tag was resolved.
func Image(name string, v *v1alpha1.SidecarVersion) (string, []Finding) {
	if v == nil {
		return "", []Finding{{VersionMissing, fmt.Sprintf("there is no SidecarVersion %q", name)}}
	}
	if v.Name != name {
		return "", []Finding{{VersionMissing, fmt.Sprintf("SidecarVersion %q was given for %q", v.Name, name)}}
	}
	ref, digest, ok := strings.Cut(v.Spec.Image, "@")
	if !ok {
		digest = v.Status.Digest
	}
	if digest == "" {
		return "", []Finding{{VersionUnresolved, fmt.Sprintf(
			"the tag of image %q of SidecarVersion %q has not been resolved into status.digest yet", v.Spec.Image, name)}}
	}
	if slash, colon := strings.LastIndex(ref, "/"), strings.LastIndex(ref, ":"); colon > slash {
		ref = ref[:colon]
	}
	return ref + "@" + digest, nil
}
