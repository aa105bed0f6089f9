package node

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/axlemesh/axle/hack/cluster/pki"
)

func TestOptions(t *testing.T) {
	cases := map[string]struct {
		options Options
		want    string // a part of the error; empty: none
	}{
		"the zero value works":                {Options{}, ""},
		"a name is part of a cgroup":          {Options{Name: "../x"}, "cluster name"},
		"names are short":                     {Options{Name: strings.Repeat("a", 21)}, "cluster name"},
		"the daemons' cgroup is not a node's": {Options{Node: "daemons"}, "taken"},
		"the state folder is absolute":        {Options{Root: "x"}, "not an absolute path"},
		"sockets fit into the state folder":   {Options{Root: "/" + strings.Repeat("d", 80)}, "socket"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			o, err := tc.options.complete()
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error %v, want one with %q", err, tc.want)
			case o.Clock == nil || o.Out == nil:
				t.Error("defaults are missing")
			}
		})
	}
}

func TestOpenWithoutCluster(t *testing.T) {
	if _, err := Open(Options{Root: t.TempDir()}); !errors.Is(err, ErrDown) {
		t.Errorf("got %v, want ErrDown", err)
	}
}

func TestMountsBelow(t *testing.T) {
	const mounts = `1 0 8:1 / / rw - ext4 x rw
2 1 0:2 / /s/a rw - tmpfs x rw
3 1 0:3 / /s/a/b rw - tmpfs x rw
4 1 0:4 / /s/ab rw - tmpfs x rw
`
	if diff := cmp.Diff([]string{"/s/a/b", "/s/a"}, mountsBelow(mounts, "/s/a")); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}

func TestNodeReady(t *testing.T) {
	node := &corev1.Node{}
	if err := nodeReady(node); err == nil {
		t.Error("a node that never reported is ready")
	}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Message: "no network"}}
	if err := nodeReady(node); err == nil || !strings.Contains(err.Error(), "no network") {
		t.Errorf("got %v", err)
	}
	node.Status.Conditions[0].Status = corev1.ConditionTrue
	if err := nodeReady(node); err != nil {
		t.Error(err)
	}
	node.Spec.Taints = []corev1.Taint{{Key: "not-ready", Effect: corev1.TaintEffectNoSchedule}}
	if err := nodeReady(node); err == nil {
		t.Error("a tainted node is ready")
	}
}

func TestFromEnv(t *testing.T) {
	dir := t.TempDir()
	if err := pki.WriteAll(dir, []pki.Subject{{File: "me", User: "me"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kubeconfig")
	if err := pki.WriteKubeconfig(path, "prod", "https://192.0.2.1", dir, "me"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", path)
	cases := map[string]struct {
		env     map[string]string
		want    string // registry, or a part of the error
		printed string
	}{
		"a kubeconfig alone selects nothing": {map[string]string{}, "ours", ""},
		"the user's own":                     {map[string]string{"CLUSTER": "existing", "REGISTRY": "r.example.com/x"}, "r.example.com/x", `context "prod"`},
		"without a registry":                 {map[string]string{"CLUSTER": "existing"}, "REGISTRY", `context "prod"`},
		"a typing error":                     {map[string]string{"CLUSTER": "existing"}, "existing", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			c, err := FromEnv(func(k string) string { return tc.env[k] }, Options{Out: &out},
				func(Options) (*Cluster, error) { return &Cluster{registry: "ours"}, nil })
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = c.Registry()
			}
			if !strings.Contains(got, tc.want) || !strings.Contains(out.String(), tc.printed) {
				t.Errorf("got %q, want %q; printed %q, want %q", got, tc.want, out.String(), tc.printed)
			}
			if c != nil && !c.Owned() {
				if err := c.RestartKubelet(t.Context()); !errors.Is(err, ErrNotOwned) {
					t.Errorf("restart the user's kubelet: %v", err)
				}
			}
		})
	}
}
