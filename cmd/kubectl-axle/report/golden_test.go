package report

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// t0 is when the scenes of testdata play.
var t0 = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// TestGolden tells the status of every testdata/NAME.yaml and explains each of its pods, and compares with NAME.golden.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenes in testdata: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".yaml")
		t.Run(filepath.Base(name), func(t *testing.T) {
			got := tell(t, load(t, file))
			if *update {
				if err := os.WriteFile(name+".golden", got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name + ".golden")
			if err != nil {
				t.Fatalf("%v (go test -update writes it)", err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("text (-want +got); go test -update rewrites it:\n%s", diff)
			}
			if bytes.Contains(got, []byte("must-never-be-shown")) {
				t.Error("the text shows a token")
			}
		})
	}
}

func tell(t *testing.T, c *Cluster) []byte {
	t.Helper()
	var out bytes.Buffer
	status, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	if err := status.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	for i := range c.Pods {
		fmt.Fprintf(&out, "\n======== %s/%s\n", c.Pods[i].Namespace, c.Pods[i].Name)
		if err := c.Explain(&out, &c.Pods[i]); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// load reads a scene.
func load(t *testing.T, file string) *Cluster {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{OperatorNamespace: "axle-system", Now: t0}
	for doc := range strings.SplitSeq(string(raw), "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		switch kind.Kind {
		case "SidecarFleet":
			c.Fleets = append(c.Fleets, decode[axlev1.SidecarFleet](t, doc))
		case "SidecarVersion":
			c.Versions = append(c.Versions, decode[axlev1.SidecarVersion](t, doc))
		case "Namespace":
			c.Namespaces = append(c.Namespaces, decode[corev1.Namespace](t, doc))
		case "Pod":
			c.Pods = append(c.Pods, decode[corev1.Pod](t, doc))
		default:
			t.Fatalf("%s: unknown kind %q", file, kind.Kind)
		}
	}
	return c
}

func decode[T any](t *testing.T, doc string) T {
	t.Helper()
	var v T
	if err := yaml.UnmarshalStrict([]byte(doc), &v); err != nil {
		t.Fatalf("%T: %v in\n%s", v, err, doc)
	}
	return v
}
