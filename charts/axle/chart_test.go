// Package axle_test renders the chart with Helm itself and holds the result
// against what is committed and against config.
package axle_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/axlemesh/axle/hack/cluster/binaries"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// digest of no image in particular.
const digest = "@sha256:0000000000000000000000000000000000000000000000000000000000000000"

// program is the path of helm or kubectl, built from source the first time.
func program(t *testing.T, name string) string {
	t.Helper()
	paths, err := binaries.Builder{Out: os.Stderr}.Build(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return paths[name]
}

func output(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(program(t, name), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %v: %w: %s", name, args, err, stderr.String())
	}
	return string(out), nil
}

// render is `helm template` of a release "axle".
func render(t *testing.T, args ...string) string {
	t.Helper()
	out, err := output(t, "helm", append([]string{"template", "axle", ".", "--kube-version", "1.36.0"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGolden(t *testing.T) {
	cases := map[string][]string{
		"default": {"--namespace", "axle-system"},
		"custom":  {"--namespace", "mesh", "--values", "testdata/custom.values.yaml"},
	}
	for name, args := range cases {
		t.Run(name, func(t *testing.T) {
			got := render(t, args...)
			file := "testdata/" + name + ".golden.yaml"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("render (-want +got):\n%s\nif this is right: go test ./charts/axle -update", diff)
			}
		})
	}
}

// objects reads a stream of manifests, keyed by kind and name, without what only Helm adds.
func objects(t *testing.T, manifests string) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	for doc := range strings.SplitSeq("\n"+manifests, "\n---\n") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatalf("parse: %v\n%s", err, doc)
		}
		if len(o) == 0 {
			continue
		}
		metadata := o["metadata"].(map[string]any)
		delete(metadata, "labels")
		if annotations, ok := metadata["annotations"].(map[string]any); ok {
			delete(annotations, "helm.sh/resource-policy")
			if len(annotations) == 0 {
				delete(metadata, "annotations")
			}
		}
		if data, ok := o["data"].(map[string]any); ok {
			data["defaults.yaml"] = objects(t, data["defaults.yaml"].(string))
		}
		out[fmt.Sprintf("%v/%v", o["kind"], metadata["name"])] = o
	}
	return out
}

// Two ways to install must not drift apart: the chart with its default values is config/default.
func TestChartEqualsConfig(t *testing.T) {
	kustomized, err := output(t, "kubectl", "kustomize", "../../config/default")
	if err != nil {
		t.Fatal(err)
	}
	want := objects(t, kustomized)
	delete(want, "Namespace/axle-system") // `helm install --create-namespace`
	got := objects(t, render(t, "--namespace", "axle-system"))
	if len(got) < 15 {
		t.Errorf("the chart renders only %d objects", len(got))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config/default against the chart (-config +chart):\n%s", diff)
	}
}

func TestKindsSurviveUninstall(t *testing.T) {
	kept := 0
	for doc := range strings.SplitSeq(render(t), "\n---\n") {
		isKind := strings.Contains(doc, "kind: CustomResourceDefinition")
		if keeps := strings.Contains(doc, "helm.sh/resource-policy: keep"); keeps != isKind {
			t.Errorf("kept is %v for:\n%.300s", keeps, doc)
		}
		if isKind {
			kept++
		}
	}
	if kept != 3 {
		t.Errorf("%d kinds, want 3", kept)
	}
}

func TestOneReplicaHasNoDisruptionBudget(t *testing.T) {
	if strings.Contains(render(t, "--set", "operator.replicas=1"), "PodDisruptionBudget") {
		t.Error("a budget for a single replica would block the drain of its node")
	}
}

func TestValuesAreRefused(t *testing.T) {
	cases := map[string]struct{ set, says string }{
		"a value that does not exist":         {"operator.replica=3", "replica"},
		"no replicas":                         {"operator.replicas=0", "replicas"},
		"a version that is no name":           {"sidecar.version=v1.0.0", "version"},
		"an image without tag and digest":     {"sidecar.image=registry.example/axle-sidecar", "image"},
		"an image that closes the quotation":  {`sidecar.image=a/b:c"]`, "image"},
		"an image with half a digest":         {"sidecar.image=registry.example/axle-sidecar@sha256:00", "image"},
		"an unknown protocol":                 {"sidecar.protocols={smtp}", "protocols"},
		"an allowed repository with a tag":    {"sidecar.allowedRepositories={registry.example/a:v1}", "allowedRepositories"},
		"an allowed repository with wildcard": {"sidecar.allowedRepositories={registry.example/*}", "allowedRepositories"},
		"an unknown way to fail":              {"injection.failurePolicy=Maybe", "failurePolicy"},
		"an allowed repository that is CEL":   {`sidecar.allowedRepositories={a/b"\, "}`, "allowedRepositories"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := output(t, "helm", "template", "axle", ".", "--set", tc.set)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("helm template --set %s: %v, want an error about %q", tc.set, err, tc.says)
			}
		})
	}
}

func TestRepositoryOfTheImage(t *testing.T) {
	cases := map[string]struct{ image, want string }{
		"a tag":              {"registry.example/mesh/axle-sidecar:v1", "registry.example/mesh/axle-sidecar"},
		"a digest":           {"registry.example/axle-sidecar" + digest, "registry.example/axle-sidecar"},
		"both":               {"registry.example/axle-sidecar:v1" + digest, "registry.example/axle-sidecar"},
		"a port":             {"127.0.0.1:5000/axle-sidecar" + digest, "127.0.0.1:5000/axle-sidecar"},
		"a port and a tag":   {"127.0.0.1:5000/axle-sidecar:v1", "127.0.0.1:5000/axle-sidecar"},
		"the chart's own":    {"", "ghcr.io/axlemesh/axle-sidecar"},
		"folders and a port": {"localhost:5000/a/b:1", "localhost:5000/a/b"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := render(t, "--set", "sidecar.image="+tc.image, "--show-only", "templates/admission.yaml")
			if want := `["` + tc.want + `"]`; strings.Count(got, want) != 4 {
				t.Errorf("%s is not the list of repositories of four policies:\n%s", want, got)
			}
		})
	}
}

func TestNotesSayWhatToTypeNext(t *testing.T) {
	out, err := output(t, "helm", "install", "axle", ".", "--namespace", "axle-system", "--dry-run=client")
	if err != nil {
		t.Fatal(err)
	}
	_, notes, ok := strings.Cut(out, "NOTES:")
	if !ok {
		t.Fatal("no notes")
	}
	for _, line := range []string{
		"kubectl -n axle-system rollout status deployment/axle-operator",
		"kubectl label namespace NAMESPACE axlemesh.io/injection=enabled",
		"kubectl patch sidecarfleet default --type merge -p",
		"kubectl label namespace NAMESPACE axlemesh.io/injection-",
		"sidecar.image is named by a tag",
	} {
		if !strings.Contains(notes, line) {
			t.Errorf("the notes do not say %q:\n%s", line, notes)
		}
	}
}
