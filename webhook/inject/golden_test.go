package inject

import (
	"flag"
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

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden renders every testdata/NAME.yaml and compares with NAME.golden.
// Read the two side by side: that is what a pod gets, or why it gets nothing.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d cases in testdata: %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".yaml")
		t.Run(filepath.Base(name), func(t *testing.T) {
			got := render(t, file)
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

func render(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var in struct {
		Pod     corev1.Pod                `json:"pod"`
		Stub    corev1.EphemeralContainer `json:"stub"`
		Version *v1alpha1.SidecarVersion  `json:"version"`
	}
	if err := yaml.UnmarshalStrict(data, &in); err != nil {
		t.Fatalf("read %s: %v", file, err)
	}
	container, report := Render(Input{
		Pod: &in.Pod, Stub: in.Stub, Version: in.Version,
		Operator: bootstrap.Operator{
			Address:    "axle-operator.axle-system.svc:15010",
			ServerName: "axle-operator.axle-system.svc",
			CA:         "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
		},
		JoinToken: "join-token",
	})
	out := struct {
		Container *corev1.EphemeralContainer `json:"container,omitempty"`
		Report    Report                     `json:"report"`
	}{Report: report}
	if report.OK() {
		out.Container = &container
	}
	got, err := yaml.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
