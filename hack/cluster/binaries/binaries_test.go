package binaries

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVersionsAreThoseOfTheModules(t *testing.T) {
	for _, m := range Modules() {
		data, err := os.ReadFile(filepath.Join(m.Dir, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(strings.TrimPrefix(line, "require"))
			found = found || len(fields) >= 2 && fields[0] == m.Path && fields[1] == m.Version
		}
		if !found {
			t.Errorf("%s/go.mod does not require %s %s", m.Dir, m.Path, m.Version)
		}
	}
}

func TestBatches(t *testing.T) {
	got, err := batches([]string{"helm", "etcd", "kubelet", "kubectl"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range got {
		names = append(names, b.module.Dir+":"+strings.Join(b.programs, "+"))
	}
	want := []string{"kubernetes:kubelet+kubectl", "etcd:etcd", "helm:helm"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("batches (-want +got):\n%s", diff)
	}
	if _, err := batches([]string{"kubelet", "docker"}); err == nil || !strings.Contains(err.Error(), "docker") {
		t.Errorf("unknown program: %v", err)
	}
	if _, err := batches(append(NodePrograms(), AssetPrograms()...)); err != nil {
		t.Error(err)
	}
}

func TestLinkerFlagsAreStable(t *testing.T) {
	for _, m := range Modules() {
		want := m.ldflags()
		for range 20 {
			if got := m.ldflags(); got != want {
				t.Fatalf("%s: the flags change: %s, then %s", m.Dir, want, got)
			}
		}
	}
	if flags := kubernetes().ldflags(); !strings.Contains(flags, "version.gitMajor=1 ") || !strings.Contains(flags, "version.gitMinor=36 ") {
		t.Errorf("kubernetes flags: %s", flags)
	}
}

// A cache that has everything is used without asking the go command to build.
func TestBuildUsesTheCache(t *testing.T) {
	source, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	b := Builder{Cache: t.TempDir(), Source: source}
	dir, err := b.folder(etcd())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etcd"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // links are made, and then found
		folder, err := b.Folder(t.Context(), "assets", "etcd")
		if err != nil {
			t.Fatal(err)
		}
		if target, err := os.Readlink(filepath.Join(folder, "etcd")); err != nil || target != filepath.Join(dir, "etcd") {
			t.Errorf("link to %q, %v", target, err)
		}
	}
}
