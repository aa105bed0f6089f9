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
	"github.com/axlemesh/axle/api/v1alpha1"
)

func TestNewStubIsParsed(t *testing.T) {
	want := Stub{Version: "v1-2-0", Generation: 7, Fleet: "default"}
	c := NewStub(want)
	got, findings := ParseStub(c)
	if diff := cmp.Diff(want, got); diff != "" || len(findings) > 0 {
		t.Errorf("ParseStub(NewStub(s)): findings %v (-want +got):\n%s", findings, diff)
	}
	if of, ok := Of(c); !ok || of != want {
		t.Errorf("Of(NewStub(s)) = %v, %v, want %v", of, ok, want)
	}
}

func TestGeneration(t *testing.T) {
	cases := map[string]struct {
		name string
		want int64
	}{
		"the first":           {"axle-g1", 1},
		"a later one":         {"axle-g120", 120},
		"zero":                {"axle-g0", 0},
		"a leading zero":      {"axle-g01", 0},
		"a sign":              {"axle-g+1", 0},
		"negative":            {"axle-g-1", 0},
		"no number":           {"axle-g", 0},
		"a slot":              {"axle-a", 0},
		"someone's debugger":  {"debugger-x7k2p", 0},
		"more than an int64":  {"axle-g99999999999999999999", 0},
		"something behind it": {"axle-g1x", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Generation(tc.name); got != tc.want || IsStubName(tc.name) != (tc.want > 0) {
				t.Errorf("Generation(%q) = %d, want %d", tc.name, got, tc.want)
			}
		})
	}
}

// The API server drops or refuses most fields of an ephemeral container; one of
// them in a rendered sidecar would mean that the pod runs something else than was rendered.
func TestRenderedFieldsAreAllowedInEphemeralContainers(t *testing.T) {
	allowed := map[string]bool{
		"name": true, "image": true, "imagePullPolicy": true, "args": true, "env": true,
		"securityContext": true, "terminationMessagePolicy": true, "resources": true,
	}
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	rendered := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Container map[string]any `json:"container"`
		}
		if err := yaml.Unmarshal(data, &got); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if got.Container == nil {
			continue
		}
		rendered++
		for field, value := range got.Container {
			if !allowed[field] {
				t.Errorf("%s: field %q is not allowed in an ephemeral container", file, field)
			}
			if m, ok := value.(map[string]any); field == "resources" && ok && len(m) > 0 {
				t.Errorf("%s: resources are set: %v", file, m)
			}
		}
	}
	if rendered < 5 {
		t.Errorf("only %d golden files have a container", rendered)
	}
}

func TestBootstrapIsWhatTheSidecarReads(t *testing.T) {
	in := Input{
		Pod:      &corev1.Pod{},
		Stub:     NewStub(Stub{Version: "v1-0-0", Generation: 3, Fleet: "default"}),
		Operator: bootstrap.Operator{Address: "axle-operator.axle-system.svc:15010", ServerName: "axle-operator.axle-system.svc", CA: "pem"},
	}
	in.Version = &v1alpha1.SidecarVersion{}
	in.Version.Name, in.Version.Spec.Image = "v1-0-0", "registry.example/axle-sidecar@sha256:"+strings.Repeat("0", 64)
	in.Pod.Name, in.Pod.Namespace, in.Pod.UID, in.Pod.Status.PodIP = "p", "ns", "uid", "10.0.0.1"

	c, report := Render(in)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	var got bootstrap.Bootstrap
	for _, e := range c.Env {
		if e.Name == bootstrap.Env {
			dec := json.NewDecoder(strings.NewReader(e.Value))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&got); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := bootstrap.Bootstrap{
		Node: bootstrap.Node{
			ID: "uid", Namespace: "ns", Pod: "p", IP: "10.0.0.1",
			Container: "axle-g3", Version: "v1-0-0", Generation: 3, InPlace: true,
		},
		Operator:         &in.Operator,
		MemoryLimitBytes: 120795948,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bootstrap (-want +got):\n%s", diff)
	}
}
