package defaults

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

const file = `
# what an installation starts with
apiVersion: axlemesh.io/v1alpha1
kind: SidecarVersion
metadata: {name: v1-0-0}
spec: {image: "registry.example/axle-sidecar:v1", protocols: [tcp]}
---
---
apiVersion: axlemesh.io/v1alpha1
kind: SidecarFleet
metadata: {name: default}
spec: {version: v1-0-0}
`

func TestParse(t *testing.T) {
	cases := map[string]struct {
		file string
		want []string
		fail bool
	}{
		"both kinds":        {file: file, want: []string{"SidecarVersion/v1-0-0", "SidecarFleet/default"}},
		"nothing":           {file: "# nothing\n"},
		"a foreign kind":    {file: "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n", fail: true},
		"a kind of no name": {file: "apiVersion: axlemesh.io/v1alpha1\nkind: SidecarFleet\n", fail: true},
		"no YAML":           {file: "a: [", fail: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			objects, err := Parse([]byte(tc.file))
			if (err != nil) != tc.fail {
				t.Fatalf("error %v, want failure %v", err, tc.fail)
			}
			var got []string
			for _, o := range objects {
				got = append(got, o.GetKind()+"/"+o.GetName())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStartCreatesOnceAndChangesNothing(t *testing.T) {
	ctx := context.Background()
	scheme := runtime.NewScheme()
	if err := axlev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mine := &axlev1.SidecarFleet{}
	mine.Name, mine.Spec.Version = "default", "v9-9-9"
	store := fake.NewClientBuilder().WithScheme(scheme).WithObjects(mine).Build()
	path := filepath.Join(t.TempDir(), "defaults.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c := &Creator{Client: store, File: path, Clock: clock.RealClock{}, Log: testr.New(t)}
		if err := c.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	fleet, version := &axlev1.SidecarFleet{}, &axlev1.SidecarVersion{}
	if err := store.Get(ctx, client.ObjectKey{Name: "default"}, fleet); err != nil {
		t.Fatal(err)
	}
	if fleet.Spec.Version != "v9-9-9" {
		t.Errorf("the fleet's version became %q", fleet.Spec.Version)
	}
	if err := store.Get(ctx, client.ObjectKey{Name: "v1-0-0"}, version); err != nil {
		t.Errorf("the version was not created: %v", err)
	}
}

func TestStartWithoutAFile(t *testing.T) {
	for name, path := range map[string]string{"none named": "", "none there": filepath.Join(t.TempDir(), "absent")} {
		if err := (&Creator{File: path, Log: testr.New(t)}).Start(context.Background()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
