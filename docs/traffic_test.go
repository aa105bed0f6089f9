package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/axlemesh/axle/api/v1alpha1"
)

// TestTheRuleIsTheSample holds the manifest of traffic.md against the sample, which an API server accepts in another test.
func TestTheRuleIsTheSample(t *testing.T) {
	all := blocks(t, "traffic.md", "yaml")
	if len(all) != 3 {
		t.Fatalf("%d manifests, want 3", len(all))
	}
	var shown, sample v1alpha1.TrafficRule
	for text, rule := range map[string]*v1alpha1.TrafficRule{all[0]: &shown, read(t, "../config/samples/trafficrule.yaml"): &sample} {
		if err := yaml.UnmarshalStrict([]byte(text), rule); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	for i := range sample.Spec.Rules {
		sample.Spec.Rules[i].Mirror = nil // in the text only
	}
	shown.Spec.Rules[1].Fallback = v1alpha1.FallbackFail // the default
	a, err := yaml.Marshal(shown)
	if err != nil {
		t.Fatal(err)
	}
	b, err := yaml.Marshal(sample)
	if err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Errorf("the document shows\n%s\nthe sample is\n%s", a, b)
	}
}

// TestTheWebRuleIsTheSample does the same for its first rule and its upstream.
func TestTheWebRuleIsTheSample(t *testing.T) {
	var shown, sample v1alpha1.TrafficRule
	for text, rule := range map[string]*v1alpha1.TrafficRule{
		blocks(t, "traffic.md", "yaml")[1]: &shown, read(t, "../config/samples/trafficrule_web.yaml"): &sample,
	} {
		if err := yaml.UnmarshalStrict([]byte(text), rule); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	sample.Spec.Rules = sample.Spec.Rules[:1]
	if diff := cmp.Diff(sample, shown); diff != "" {
		t.Errorf("the document differs from the sample (-sample +document):\n%s", diff)
	}
}

// TestTheHedgeIsTheSamples holds the lines about it against the sample's.
func TestTheHedgeIsTheSamples(t *testing.T) {
	lines, sample := blocks(t, "traffic.md", "yaml")[2], read(t, "../config/samples/trafficrule_web.yaml")
	if !strings.Contains(lines, "hedge: true") || !strings.Contains(sample, lines) {
		t.Errorf("the document shows\n%s\nwhich the sample does not have", lines)
	}
}

// reasons are the string constants of a folder whose names begin with reason, in either case.
func reasons(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Names) != 1 || len(v.Values) != 1 || !strings.HasPrefix(strings.ToLower(v.Names[0].Name), "reason") {
				return true
			}
			if lit, ok := v.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				word, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, word)
			}
			return true
		})
	}
	return all
}

// TestEveryReasonOfARuleIsDocumented holds the table against the code, both ways.
func TestEveryReasonOfARuleIsDocumented(t *testing.T) {
	exist := slices.Concat(reasons(t, "controllers/xds"), reasons(t, "controllers/trafficrule"))
	if len(exist) < 12 {
		t.Errorf("only %v were found", exist)
	}
	table := section(t, "traffic.md", "What became of it")
	var told []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[A-Za-z]+`(?:, `[A-Za-z]+`)*) \\|").FindAllStringSubmatch(table, -1) {
		for reason := range strings.SplitSeq(row[1], ", ") {
			told = append(told, strings.Trim(reason, "`"))
		}
	}
	for _, reason := range exist {
		if !slices.Contains(told, reason) {
			t.Errorf("nothing says what %s means", reason)
		}
	}
	for _, reason := range told {
		if !slices.Contains(exist, reason) {
			t.Errorf("%s is documented and does not exist", reason)
		}
	}
}
