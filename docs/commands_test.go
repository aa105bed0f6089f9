package docs_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/axlemesh/axle/api/v1alpha1"
)

// kinds are the CRDs.
func kinds(t *testing.T) []apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	var all []apiextensionsv1.CustomResourceDefinition
	for _, file := range []string{"sidecarfleets", "sidecarversions", "trafficrules"} {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict([]byte(read(t, "../config/crd/bases/axlemesh.io_"+file+".yaml")), &crd); err != nil {
			t.Fatal(err)
		}
		all = append(all, crd)
	}
	return all
}

// The parts of commands that are Kubernetes' and Helm's own.
var (
	verbs     = []string{"annotate", "apply", "delete", "describe", "explain", "get", "label", "logs", "patch", "port-forward", "rollout", "wait"}
	resources = []string{"crd", "deployment", "events", "lease", "namespace", "pod", "secret"}
	flags     = []string{"-A", "-c", "-f", "-k", "-n", "-o", "-p", "-w", "--create-namespace", "--field-selector", "--for", "--merge", "--previous", "--reuse-values", "--set", "--type"}
	// things that the reader has.
	examples = []string{"payments", "pay-0", "pay-1", "gray"}
)

// TestCommandsNameWhatExists holds every command for a cluster against the chart, the kinds and this repository.
func TestCommandsNameWhatExists(t *testing.T) {
	chart := read(t, "../charts/axle/testdata/default.golden.yaml")
	code := sources(t, false, ".")
	mine := slices.Clone(resources)
	for _, crd := range kinds(t) {
		n := crd.Spec.Names
		mine = append(append(mine, n.Singular, n.Plural), n.ShortNames...)
	}
	named := func(name string) bool {
		return slices.Contains(examples, name) || strings.Contains(chart, "name: "+name+"\n") || strings.Contains(code, `"`+name+`"`) ||
			regexp.MustCompile(`^v1-[0-9]-0$`).MatchString(name)
	}
	count := 0
	for _, doc := range []string{"handover.md", "install.md", "traffic.md"} {
		for _, line := range lines(t, doc, "sh") {
			count++
			words := strings.Fields(regexp.MustCompile(`'[^']*'`).ReplaceAllStringFunc(line, func(q string) string { return strings.ReplaceAll(q, " ", "") }))
			checkFlags(t, line, words)
			switch words[0] {
			case "kubectl":
				checkKubectl(t, line, words[1:], mine, named)
			case "helm":
				checkHelm(t, line, words[1:])
			case "go":
				checkImage(t, line)
			default:
				t.Errorf("%s: nobody checks %q", doc, line)
			}
		}
	}
	if count < 30 {
		t.Errorf("only %d commands were found", count)
	}
}

func checkFlags(t *testing.T, line string, words []string) {
	t.Helper()
	for _, w := range words {
		if name, _, _ := strings.Cut(w, "="); words[0] != "go" && strings.HasPrefix(w, "-") && !slices.Contains(flags, name) {
			t.Errorf("%s: unknown flag %s", line, name)
		}
	}
}

func checkKubectl(t *testing.T, line string, words, resources []string, named func(string) bool) {
	t.Helper()
	var plain []string // without flags and their values
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "-n" || w == "-c" || w == "-o" || w == "-p" || w == "-f" || w == "--type" || w == "--field-selector":
			i++
			if w == "-n" && !named(words[i]) && words[i] != "axle-system" {
				t.Errorf("%s: unknown namespace %s", line, words[i])
			}
			if w == "-c" && !strings.HasPrefix(words[i], v1alpha1.InPlacePrefix) && words[i] != v1alpha1.SlotA && words[i] != v1alpha1.SlotB {
				t.Errorf("%s: %s is no sidecar", line, words[i])
			}
			if w == "-p" {
				checkPatch(t, line, strings.Trim(words[i], "'"))
			}
		case !strings.HasPrefix(w, "-"):
			plain = append(plain, w)
		}
	}
	verb := plain[0]
	if !slices.Contains(verbs, verb) {
		t.Errorf("%s: unknown verb", line)
	}
	rest := plain[1:]
	if verb == "explain" {
		checkExplain(t, line, rest)
		return
	}
	if verb == "rollout" {
		rest = rest[1:]
	}
	for i, w := range rest {
		kind, name, slash := strings.Cut(w, "/")
		switch {
		case strings.HasPrefix(w, v1alpha1.GroupName+"/"): // TestDocumentsNameWhatExists
		case verb == "port-forward" && i == 1:
			if !regexp.MustCompile(`^(13331:13331|8080:8080)$`).MatchString(w) {
				t.Errorf("%s: unknown ports", line)
			}
		case slash && (!slices.Contains(resources, kind) || !named(name)):
			t.Errorf("%s: there is no %s", line, w)
		case !slash && i == 0 && verb != "logs":
			for kind := range strings.SplitSeq(w, ",") {
				if !slices.Contains(resources, kind) {
					t.Errorf("%s: there is no resource %s", line, kind)
				}
			}
		case !slash && !named(w):
			t.Errorf("%s: nothing is called %s", line, w)
		}
	}
}

// checkExplain follows the field through the schema of its kind, which is where the text comes from.
func checkExplain(t *testing.T, line string, words []string) {
	t.Helper()
	kind, path, _ := strings.Cut(words[0], ".")
	for _, crd := range kinds(t) {
		if crd.Spec.Names.Plural == kind && has(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, strings.Split(path, ".")) {
			return
		}
	}
	t.Errorf("%s: there is no such field", line)
}

func checkPatch(t *testing.T, line, patch string) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(patch), &v1alpha1.SidecarFleet{}); err != nil {
		t.Errorf("%s: %v", line, err)
	}
}

func values(t *testing.T) map[string]any {
	t.Helper()
	var all map[string]any
	if err := yaml.Unmarshal([]byte(read(t, "../charts/axle/values.yaml")), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func lookup(in map[string]any, path string) (any, bool) {
	var at any = in
	for name := range strings.SplitSeq(path, ".") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = m[name]; !ok {
			return nil, false
		}
	}
	return at, true
}

func checkHelm(t *testing.T, line string, words []string) {
	t.Helper()
	if !slices.Contains([]string{"install", "upgrade", "uninstall"}, words[0]) || words[1] != "axle" {
		t.Errorf("%s: unknown command", line)
	}
	for _, m := range regexp.MustCompile(`--set '?([A-Za-z.]+)=`).FindAllStringSubmatch(line, -1) {
		if _, ok := lookup(values(t), m[1]); !ok {
			t.Errorf("%s: the chart has no value %s", line, m[1])
		}
	}
	if words[0] != "uninstall" && words[2] != "charts/axle" {
		t.Errorf("%s: which chart?", line)
	}
}

// checkImage looks the flags of hack/image up where they are defined, and the package.
func checkImage(t *testing.T, line string) {
	t.Helper()
	args, ok := strings.CutPrefix(line, "go run ./hack/image ")
	if !ok {
		t.Errorf("nobody checks %q", line)
	}
	code := read(t, "../hack/image/main.go")
	for _, m := range regexp.MustCompile(`(?:^| )-([a-z]+) `).FindAllStringSubmatch(args, -1) {
		if !strings.Contains(code, fmt.Sprintf("%q", m[1])) {
			t.Errorf("%s: hack/image has no flag -%s", line, m[1])
		}
	}
	words := strings.Fields(args)
	if _, err := os.Stat("../" + words[len(words)-1] + "/main.go"); err != nil {
		t.Errorf("%s: %v", line, err)
	}
}

// TestValuesAreDocumentedRightly compares the table with the chart.
func TestValuesAreDocumentedRightly(t *testing.T) {
	all := values(t)
	chart := read(t, "../charts/axle/testdata/default.golden.yaml")
	rows := regexp.MustCompile("(?m)^\\| `([a-zA-Z.]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(section(t, "install.md", "Install"), -1)
	if len(rows) < 6 {
		t.Errorf("only %d values are documented", len(rows))
	}
	for _, row := range rows {
		v, ok := lookup(all, row[1])
		if !ok {
			t.Errorf("the chart has no value %s", row[1])
			continue
		}
		switch text := strings.Trim(row[2], "`"); {
		case row[1] == "operator.resources":
			if want := "50m, 64Mi; limit 512Mi"; text != want || fmt.Sprint(v) != "map[limits:map[memory:512Mi] requests:map[cpu:50m memory:64Mi]]" {
				t.Errorf("%s is documented as %q and is %v", row[1], text, v)
			}
		case v == "": // computed
			if !strings.Contains(chart, ": "+text+"\n") {
				t.Errorf("the default of %s is not %s", row[1], text)
			}
		case text != fmt.Sprint(v) && (text != "{}" || fmt.Sprint(v) != "map[]"):
			t.Errorf("the default of %s is documented as %s and is %v", row[1], text, v)
		}
	}
}

// TestFieldsExist follows every spec.x and status.x through the schemas.
func TestFieldsExist(t *testing.T) {
	crds := kinds(t)
	for _, doc := range []string{"handover.md", "install.md", "traffic.md"} {
		for _, m := range regexp.MustCompile("`((?:spec|status)\\.[A-Za-z0-9.]+)[^`]*`").FindAllStringSubmatch(read(t, doc), -1) {
			if !slices.ContainsFunc(crds, func(crd apiextensionsv1.CustomResourceDefinition) bool {
				return has(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, strings.Split(m[1], "."))
			}) {
				t.Errorf("%s names the field %s, which does not exist", doc, m[1])
			}
		}
	}
}

func has(schema *apiextensionsv1.JSONSchemaProps, path []string) bool {
	if len(path) == 0 {
		return true
	}
	if schema.Items != nil {
		schema = schema.Items.Schema
	}
	next, ok := schema.Properties[path[0]]
	return ok && has(&next, path[1:])
}

func TestManifestsAreObjects(t *testing.T) {
	all := blocks(t, "install.md", "yaml")
	if len(all) != 1 {
		t.Errorf("%d manifests, want 1", len(all))
	}
	for _, b := range all {
		v := &v1alpha1.SidecarVersion{}
		if err := yaml.UnmarshalStrict([]byte(b), v); err != nil || v.Name == "" || v.TypeMeta != (metav1.TypeMeta{Kind: "SidecarVersion", APIVersion: v1alpha1.GroupVersion.String()}) {
			t.Errorf("%v\n%s", err, b)
		}
	}
}
