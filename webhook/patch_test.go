package webhook

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/axlemesh/axle/api/membership"
	"github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/webhook/inject"
)

// Every golden case of the renderer, as the API server would see it: with fields that this program does not know.
func TestPatch(t *testing.T) {
	files, err := filepath.Glob("inject/testdata/slots/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d cases: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var c struct {
				Pod   corev1.Pod          `json:"pod"`
				Ports []v1alpha1.PortSpec `json:"ports"`
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal(data, &c); err != nil {
				t.Fatal(err)
			}
			c.Pod.Spec.ServiceAccountName = "default"
			once := check(t, &c.Pod, c.Ports)
			twice := check(t, once, c.Ports)
			if diff := cmp.Diff(once, twice); diff != "" {
				t.Errorf("asked again (-once +twice):\n%s", diff)
			}
			if ops := Patch(once, twice); len(ops) > 0 {
				t.Errorf("a patch of what is rendered already: %v", ops)
			}
		})
	}
}

// check renders, applies the patch, and returns what was rendered.
func check(t *testing.T, pod *corev1.Pod, ports []v1alpha1.PortSpec) *corev1.Pod {
	t.Helper()
	v := &v1alpha1.SidecarVersion{}
	v.Name, v.Spec.Image = "v1-0-0", "registry.example/axle-sidecar@sha256:"+strings.Repeat("0", 64)
	want, _ := inject.RenderSlots(inject.SlotsInput{Pod: pod, Fleet: "default", Version: v, Ports: membership.PortsAtCreation(ports, pod, nil)})

	doc := object(t, pod)
	unknown := 0
	for _, list := range []string{"containers", "initContainers", "volumes"} {
		items, _ := doc["spec"].(map[string]any)[list].([]any)
		for _, item := range items {
			if m := item.(map[string]any); !strings.HasPrefix(m["name"].(string), "axle-") {
				m["newField"] = "kept"
				unknown++
			}
		}
	}
	raw, err := json.Marshal(Patch(pod, want))
	if err != nil {
		t.Fatal(err)
	}
	var operations []jsonpatch.Operation
	if err := json.Unmarshal(raw, &operations); err != nil {
		t.Fatal(err)
	}
	var patched any = doc
	for _, op := range operations {
		if patched, err = apply(patched, strings.Split(op.Path, "/")[1:], op); err != nil {
			t.Fatalf("%s %s: %v", op.Operation, op.Path, err)
		}
	}
	raw, err = json.Marshal(patched)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(raw), `"newField":"kept"`); got != unknown {
		t.Errorf("%d of %d fields that nobody knows were kept", got, unknown)
	}
	got := &corev1.Pod{}
	if err := json.Unmarshal(raw, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(object(t, want), object(t, got)); diff != "" {
		t.Errorf("patched (-want +got):\n%s", diff)
	}
	return want
}

func object(t *testing.T, pod *corev1.Pod) map[string]any {
	t.Helper()
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	var o map[string]any
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// apply is "add" and "remove" of RFC 6902.
func apply(node any, path []string, op jsonpatch.Operation) (any, error) {
	key := strings.NewReplacer("~1", "/", "~0", "~").Replace(path[0])
	switch n := node.(type) {
	case map[string]any:
		child, has := n[key]
		switch {
		case len(path) > 1:
			next, err := apply(child, path[1:], op)
			n[key] = next
			return n, err
		case op.Operation == "add":
			n[key] = op.Value
			return n, nil
		case has:
			delete(n, key)
			return n, nil
		}
		return nil, fmt.Errorf("no key %q", key)
	case []any:
		i, err := strconv.Atoi(key)
		if key == "-" {
			i, err = len(n), nil
		}
		switch {
		case err != nil || i < 0 || i > len(n) || i == len(n) && (len(path) > 1 || op.Operation != "add"):
			return nil, fmt.Errorf("index %q of %d", key, len(n))
		case len(path) > 1:
			n[i], err = apply(n[i], path[1:], op)
			return n, err
		case op.Operation == "add":
			return slices.Insert(n, i, op.Value), nil
		}
		return slices.Delete(n, i, i+1), nil
	}
	return nil, fmt.Errorf("nothing at %q", key)
}
