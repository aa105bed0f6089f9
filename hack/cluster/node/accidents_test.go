package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCgroupsOfAPod(t *testing.T) {
	root := t.TempDir()
	for dir, procs := range map[string]string{
		"axle-x/axle-node":                            "",
		"axle-x/axle-node/kubepods/burstable/podu1":   "",
		"axle-x/axle-node/kubepods/burstable/podu1/a": "11\n",
		"axle-x/axle-node/kubepods/burstable/podu1/b": "12\n13\n",
		"axle-x/axle-node/kubepods/burstable/podu1/s": "10\n",
		"axle-x/axle-node/kubepods/burstable/podu1/t": "\n",
		"axle-x/axle-node/kubepods/podu2/c":           "21\n",
		"axle-x/axle-node/kubepods/podu2/s":           "20\n",
		"axle-y/axle-node/kubepods/podu1/s":           "30\n",
	} {
		dir = filepath.Join(root, dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(procs), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string]struct {
		match func(string) bool
		want  []string
	}{
		"a container":                      {isContainer("containerd://b"), []string{"/axle-x/axle-node/kubepods/burstable/podu1/b"}},
		"a container without scheme":       {isContainer("c"), []string{"/axle-x/axle-node/kubepods/podu2/c"}},
		"a container that has ended":       {isContainer("containerd://t"), nil},
		"no ID":                            {isContainer("containerd://"), nil},
		"a sandbox":                        {isSandbox("u1", []string{"containerd://a", "containerd://b"}), []string{"/axle-x/axle-node/kubepods/burstable/podu1/s"}},
		"a sandbox and a container beside": {isSandbox("u2", nil), []string{"/axle-x/axle-node/kubepods/podu2/c", "/axle-x/axle-node/kubepods/podu2/s"}},
		"no pod":                           {isSandbox("", nil), nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := populated(root, "/axle-x/axle-node", tc.match)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("cgroups (-want +got):\n%s", diff)
			}
		})
	}
}
