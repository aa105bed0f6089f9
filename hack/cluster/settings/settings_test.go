package settings

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func example() Layout {
	return Layout{
		Name: "x", Node: "n1", State: "/state/x", Programs: "/bin/k8s", Runc: "/usr/sbin/runc", CNI: "/usr/lib/cni",
		APIPort: 16443, RegistryPort: 15000, Gates: map[string]bool{"B": false, "A": true},
	}
}

func TestFiles(t *testing.T) {
	for _, f := range example().Files() {
		name := filepath.Base(f.Path)
		t.Run(name, func(t *testing.T) {
			golden := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(golden, []byte(f.Data), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), f.Data); diff != "" {
				t.Errorf("%s (-want +got), -update accepts it:\n%s", name, diff)
			}
			if strings.Contains(strings.ReplaceAll(f.Data, `"$PATH"`, ""), "$") {
				t.Errorf("a name was not replaced in:\n%s", f.Data)
			}
		})
	}
}

func TestFilesParse(t *testing.T) {
	l := example()
	var network map[string]any
	if err := json.Unmarshal([]byte(l.network()), &network); err != nil {
		t.Errorf("network: %v", err)
	}
	var kubelet struct {
		CgroupRoot   string          `json:"cgroupRoot"`
		FeatureGates map[string]bool `json:"featureGates"`
	}
	if err := yaml.Unmarshal([]byte(l.kubelet()), &kubelet); err != nil {
		t.Fatalf("kubelet: %v", err)
	}
	if kubelet.CgroupRoot != "/axle-x/n1" {
		t.Errorf("cgroup root %q", kubelet.CgroupRoot)
	}
	if diff := cmp.Diff(l.Gates, kubelet.FeatureGates); diff != "" {
		t.Errorf("gates (-want +got):\n%s", diff)
	}
}

func TestCommand(t *testing.T) {
	l := example()
	for _, name := range Daemons() {
		if name == Holder || name == Relay {
			continue
		}
		line := l.Command(name)
		if len(line) < 2 || line[0] != "/bin/k8s/"+name {
			t.Errorf("%s: %v", name, line)
		}
	}
	if got := l.Command("nobody"); got != nil {
		t.Errorf("unknown daemon: %v", got)
	}
	line := strings.Join(l.Command(Scheduler), " ")
	if !strings.HasSuffix(line, "--feature-gates=A=true,B=false") {
		t.Errorf("gates are missing or unsorted: %s", line)
	}
	if got := l.RelayCommand(7); got[1] != "-namespace=/proc/7/ns/net" || got[4] != "-listen=127.0.0.1:16443" {
		t.Errorf("relay: %v", got)
	}
}

func TestFoldersHoldFiles(t *testing.T) {
	l := example()
	folders := append(l.Folders(), l.State)
	for _, f := range l.Files() {
		found := false
		for _, dir := range folders {
			found = found || filepath.Dir(f.Path) == dir
		}
		if !found {
			t.Errorf("nobody makes the folder of %s", f.Path)
		}
	}
}
