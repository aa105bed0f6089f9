package inject

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/api/membership"
	"github.com/axlemesh/axle/api/v1alpha1"
)

// slotCase is one testdata/slots/NAME.yaml: a pod as it is created, and what its fleet says.
type slotCase struct {
	Pod     corev1.Pod               `json:"pod"`
	Ports   []v1alpha1.PortSpec      `json:"ports"`
	Version *v1alpha1.SidecarVersion `json:"version"`
}

// version that a case runs which names none.
const version = `{"metadata":{"name":"v1-0-0"},"spec":{"protocols":["tcp","bolt"],
"image":"registry.example/axle-sidecar@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
"resources":{"requests":{"cpu":"50m","memory":"32Mi"},"limits":{"memory":"128Mi"}}}}`

func slotCases(t *testing.T) map[string]SlotsInput {
	t.Helper()
	files, err := filepath.Glob("testdata/slots/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d cases in testdata/slots: %v", len(files), err)
	}
	all := map[string]SlotsInput{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c slotCase
		if err := yaml.UnmarshalStrict(data, &c); err != nil {
			t.Fatalf("read %s: %v", file, err)
		}
		if c.Version == nil {
			if err := yaml.Unmarshal([]byte(version), &c.Version); err != nil {
				t.Fatal(err)
			}
		}
		if c.Pod.Spec.ServiceAccountName == "" {
			c.Pod.Spec.ServiceAccountName = "default" // as the API server does, except in clusters without service accounts
		}
		all[strings.TrimSuffix(file, ".yaml")] = input(&c.Pod, c.Version, c.Ports)
	}
	return all
}

func input(pod *corev1.Pod, v *v1alpha1.SidecarVersion, ports []v1alpha1.PortSpec) SlotsInput {
	return SlotsInput{
		Pod: pod, Fleet: "default", Version: v, Ports: membership.PortsAtCreation(ports, pod, nil),
		Operator: bootstrap.Operator{
			Address: "axle-operator.axle-system.svc:15010", ServerName: "axle-operator.axle-system.svc", CA: "-----BEGIN CERTIFICATE-----\nMIIB\n",
		},
	}
}

// TestGoldenSlots renders every testdata/slots/NAME.yaml and compares with NAME.golden.
func TestGoldenSlots(t *testing.T) {
	for name, in := range slotCases(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			before := in.Pod.DeepCopy()
			pod, report := RenderSlots(in)
			if diff := cmp.Diff(before, in.Pod); diff != "" {
				t.Errorf("the pod that was given has changed:\n%s", diff)
			}
			got, err := yaml.Marshal(struct {
				Pod    *corev1.Pod `json:"pod"`
				Report Report      `json:"report"`
			}{pod, report})
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(name+".golden", got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name + ".golden")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("rendered (-want +got):\n%s\nif this is right: go test ./webhook/inject -update", diff)
			}
		})
	}
}

// The API server may call again with what was rendered, and people create copies of running pods.
func TestSlotsAreRenderedOnce(t *testing.T) {
	for name, in := range slotCases(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			once, _ := RenderSlots(in)
			again := in
			again.Pod = once
			twice, _ := RenderSlots(again)
			if diff := cmp.Diff(once, twice); diff != "" {
				t.Errorf("a second rendering (-once +twice):\n%s", diff)
			}
		})
	}
}

// Whatever a pod is like, what its slots are given lets it start and leaves its class of service as good as it was.
func TestSlotResourcesAreValid(t *testing.T) {
	for name, in := range slotCases(t) {
		pod, report := RenderSlots(in)
		if !report.OK() {
			continue
		}
		before, after := qos(in.Pod), qos(pod)
		if before == corev1.PodQOSGuaranteed && after != before || before == corev1.PodQOSBurstable && after != before {
			t.Errorf("%s: the pod was %s and is %s", name, before, after)
		}
		for _, c := range pod.Spec.InitContainers[:2] {
			for _, r := range computed {
				request, ok := c.Resources.Requests[r]
				if !ok {
					t.Errorf("%s: %s requests no %s", name, c.Name, r)
				}
				if limit, ok := c.Resources.Limits[r]; ok && request.Cmp(limit) > 0 {
					t.Errorf("%s: %s requests more %s than its limit", name, c.Name, r)
				}
			}
		}
	}
}

func TestNoSlotsWithoutAServiceAccount(t *testing.T) {
	pod, report := RenderSlots(input(&corev1.Pod{}, aVersion("v1-0-0"), nil))
	if len(report.Denied) != 1 || report.Denied[0].Reason != NoAccount || len(pod.Spec.InitContainers) > 0 {
		t.Errorf("report %v, init containers %v", report, pod.Spec.InitContainers)
	}
}

func TestSlotBootstrapIsWhatTheSidecarReads(t *testing.T) {
	pod := &corev1.Pod{}
	pod.Namespace, pod.Spec.ServiceAccountName, pod.Spec.Containers = "payments", "default", []corev1.Container{{Name: "app"}}
	pod.Spec.TerminationGracePeriodSeconds = new(int64(60))
	out, report := RenderSlots(input(pod, aVersion("v1-0-0"), nil))
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	expand := strings.NewReplacer("$(AXLE_POD_UID)", "uid", "$(AXLE_POD_NAME)", "pay-0", "$(AXLE_POD_IP)", "fd00::1", "$(AXLE_ZONE)", "zone-a")
	var got bootstrap.Bootstrap
	for _, e := range out.Spec.InitContainers[1].Env {
		if e.Name == bootstrap.Env {
			dec := json.NewDecoder(strings.NewReader(expand.Replace(e.Value)))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&got); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := bootstrap.Bootstrap{
		Node:     bootstrap.Node{ID: "uid", Namespace: "payments", Pod: "pay-0", IP: "fd00::1", Container: "axle-b", Zone: "zone-a"},
		Operator: got.Operator,
		Handover: bootstrap.Handover{Socket: "/var/run/axle/run/handover.sock"},
		Slot:     &bootstrap.Slot{Name: "b", Dir: "/var/run/axle", File: "/etc/axle/slots", TokenFile: "/etc/axle/token"},

		MemoryLimitBytes: 120795948, TerminationGraceSeconds: 60,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bootstrap (-want +got):\n%s", diff)
	}
}

func aVersion(name string) *v1alpha1.SidecarVersion {
	v := &v1alpha1.SidecarVersion{}
	v.Name, v.Spec.Image = name, "registry.example:5000/axle-sidecar:v1@sha256:"+strings.Repeat("0", 64)
	return v
}

func TestFlip(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0", 64)
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name, pod.Spec.ServiceAccountName = "payments", "pay-0", "default"
	pod, report := RenderSlots(input(pod, aVersion("v1-0-0"), nil))
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	serving := int64(2)
	for want := int64(3); want <= 14; want++ {
		slot, err := IdleSlot(pod, serving)
		if err != nil {
			t.Fatal(err)
		}
		generation, err := NextGeneration(pod)
		if err != nil || generation != want {
			t.Fatalf("next generation %d, %v; want %d", generation, err, want)
		}
		if err := Flip(pod, slot, aVersion("v1-1-0"), generation); err != nil {
			t.Fatal(err)
		}
		slots, err := v1alpha1.ParseSlots(pod.Annotations)
		if err != nil || slots.Serving != serving {
			t.Fatalf("slots %+v, %v: a flip must not say who serves", slots, err)
		}
		for _, c := range pod.Spec.InitContainers {
			if c.Name == slot && seen[c.Image] {
				t.Errorf("image %s comes back", c.Image)
			}
			seen[c.Image] = true
		}
		if err := SetServing(pod, generation); err != nil {
			t.Fatal(err)
		}
		serving = generation
	}
	if got, want := pod.Spec.InitContainers[1].Image, "registry.example:5000/axle-sidecar:g13"+digest; got != want {
		t.Errorf("axle-b has image %s, want %s", got, want)
	}
	if got, want := pod.Annotations[v1alpha1.SlotsAnnotation],
		`{"serving":14,"a":{"generation":14,"version":"v1-1-0"},"b":{"generation":13,"version":"v1-1-0"}}`; got != want {
		t.Errorf("annotation %s, want %s", got, want)
	}
}

func TestFlipRefuses(t *testing.T) {
	with, _ := RenderSlots(input(&corev1.Pod{Spec: corev1.PodSpec{ServiceAccountName: "default"}}, aVersion("v1-0-0"), nil))
	broken := with.DeepCopy()
	broken.Annotations[v1alpha1.SlotsAnnotation] = "{"
	unresolved := aVersion("v2")
	unresolved.Spec.Image = "registry.example/axle-sidecar:v2"
	cases := map[string]struct {
		pod        *corev1.Pod
		slot       string
		version    *v1alpha1.SidecarVersion
		generation int64
		says       string
	}{
		"a generation that was there before": {with, "axle-b", aVersion("v2"), 2, "generation 2 is not above 2"},
		"a version without a digest":         {with, "axle-b", unresolved, 3, "has not been resolved"},
		"no version":                         {with, "axle-b", nil, 3, "no SidecarVersion"},
		"another container":                  {with, "app", aVersion("v2"), 3, "no such slot"},
		"a pod without slots":                {&corev1.Pod{}, "axle-b", aVersion("v2"), 3, "has no slots"},
		"an annotation that cannot be read":  {broken, "axle-b", aVersion("v2"), 3, "annotation axlemesh.io/slots"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := tc.pod.DeepCopy()
			err := Flip(tc.pod, tc.slot, tc.version, tc.generation)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want one about %q", err, tc.says)
			}
			if diff := cmp.Diff(before, tc.pod); diff != "" {
				t.Errorf("the pod has changed all the same:\n%s", diff)
			}
		})
	}
	if err := SetServing(with.DeepCopy(), 7); err == nil {
		t.Error("a generation that no slot has was made the serving one")
	}
	if _, err := IdleSlot(with, 7); err == nil {
		t.Error("a slot was found idle beside a generation that no slot has")
	}
}
