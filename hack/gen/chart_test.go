package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConvert(t *testing.T) {
	cases := map[string]struct {
		in   string
		keep bool
		want string
	}{
		"the namespace and the labels become the release's": {
			in: "# why\napiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: axle-system, labels: {who: me}}\n",
			want: "---\napiVersion: v1\nkind: Service\nmetadata:\n  labels:\n    {{- include \"axle.labels\" . | nindent 4 }}\n" +
				"  name: a\n  namespace: {{ .Release.Namespace }}\n",
		},
		"a kept object says so": {
			in: "---\nkind: B\nmetadata: {name: b}\n---\nkind: C\nmetadata: {name: c, annotations: {who: me}}\n", keep: true,
			want: "---\nkind: B\nmetadata:\n  annotations:\n    helm.sh/resource-policy: keep\n  labels:\n" +
				"    {{- include \"axle.labels\" . | nindent 4 }}\n  name: b\n" +
				"---\nkind: C\nmetadata:\n  annotations:\n    helm.sh/resource-policy: keep\n    who: me\n  labels:\n" +
				"    {{- include \"axle.labels\" . | nindent 4 }}\n  name: c\n",
		},
		"nothing": {in: "# only a comment\n", want: ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := convert(tc.in, tc.keep)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("template (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConvertRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"what Helm would interpret": "kind: A\nmetadata: {name: '{{ x }}'}\n",
		"an object without a name":  "kind: A\n",
		"what is no YAML":           "a: [\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := convert(in, false); err == nil {
				t.Errorf("no error, but %q", got)
			}
		})
	}
}

// TestChartIsFresh compares what is committed with what config makes of it. The
// rest of what this command writes is checked by running it.
func TestChartIsFresh(t *testing.T) {
	dir := t.TempDir()
	if err := chart("../../config", dir); err != nil {
		t.Fatal(err)
	}
	for _, file := range templates {
		want, err := os.ReadFile(filepath.Join(dir, file.name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("../../charts/axle/templates", file.name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is stale: go run ./hack/gen (-want +got):\n%s", file.name, diff)
		}
	}
}
