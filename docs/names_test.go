package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/handover"
)

// sources is the text of the Go files below some folders of the repository.
func sources(t *testing.T, tests bool, folders ...string) string {
	t.Helper()
	var all strings.Builder
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join("..", folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") != tests {
				return err
			}
			b, err := os.ReadFile(path)
			all.Write(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

func TestDocumentsNameWhatExists(t *testing.T) {
	path := regexp.MustCompile("`([a-z.][A-Za-z0-9_.@-]*/[A-Za-z0-9_./@-]*)`")
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	test := regexp.MustCompile("`(Test[A-Za-z0-9_]+|Fuzz[A-Za-z0-9_]+)`")
	metric := regexp.MustCompile(`axle_[a-z_]+`)
	label := regexp.MustCompile(`axlemesh\\?\.io/([a-z]+[0-9]?(?:-[a-z]+)*)`)
	target := regexp.MustCompile("`make ([a-z0-9-]+)[^`]*`")
	tests := sources(t, true, ".")
	code := sources(t, false, "sidecar", "controllers")
	names := sources(t, false, "api/v1alpha1", "controllers", "webhook", "sidecar/xds")
	makefile := read(t, "../Makefile")
	roots := []string{"api", "charts", "config", "controllers", "docs", "hack", "sidecar", "webhook"}
	for _, doc := range documents {
		text := read(t, doc)
		for _, m := range path.FindAllStringSubmatch(text, -1) {
			root, _, _ := strings.Cut(m[1], "/")
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil && slices.Contains(roots, root) {
				t.Errorf("%s names %s, which does not exist", doc, m[1])
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s links to %s, which does not exist", doc, m[1])
			}
		}
		for _, m := range test.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(tests, "func "+m[1]+"(") {
				t.Errorf("%s names the test %s, which does not exist", doc, m[1])
			}
		}
		for _, name := range metric.FindAllString(text, -1) {
			name = strings.TrimSuffix(name, "_bucket") // of a histogram
			if !strings.Contains(code, `"`+name+`"`) {
				t.Errorf("%s names the metric %s, which does not exist", doc, name)
			}
		}
		for _, m := range label.FindAllStringSubmatch(text, -1) {
			if m[1] != "v1" && !regexp.MustCompile(`(axlemesh\.io|GroupName ?\+ ?")/`+m[1]+`"`).MatchString(names) {
				t.Errorf("%s names axlemesh.io/%s, which does not exist", doc, m[1])
			}
		}
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s names `make %s`, which does not exist", doc, m[1])
			}
		}
	}
}

// said are the string constants of a package that people see: those that a condition is called or given as reason, and
// those that an event or a finding has.
func said(t *testing.T, folder string, types ...string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", folder, len(files), err)
	}
	var all []string
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Names) != 1 || len(v.Values) != 1 {
				return true
			}
			typ, _ := v.Type.(*ast.Ident)
			named := typ != nil && slices.Contains(types, typ.Name) || strings.HasPrefix(v.Names[0].Name, "reason")
			if lit, ok := v.Values[0].(*ast.BasicLit); ok && named && lit.Kind == token.STRING {
				word, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, word)
			}
			return true
		})
	}
	if len(all) < 4 {
		t.Errorf("%s: only %v", folder, all)
	}
	return all
}

// TestEveryReasonIsDocumented holds the troubleshooting tables against the code, both ways.
func TestEveryReasonIsDocumented(t *testing.T) {
	exist := slices.Concat(said(t, "controllers/sidecarfleet", "Kind", "outcome"), said(t, "controllers/sidecarversion"), said(t, "webhook/inject", "Reason"))
	if code := sources(t, false, "controllers/xds"); strings.Contains(code, `"ConfigRejected"`) {
		exist = append(exist, "ConfigRejected")
	}
	doc := section(t, "install.md", "Troubleshooting")
	upgrade := section(t, "handover.md", "Where to look")
	for _, reason := range exist {
		if !strings.Contains(doc, "`"+reason+"`") && !strings.Contains(upgrade, "`"+reason+"`") {
			t.Errorf("nothing says what %s means", reason)
		}
	}
	for _, text := range []string{doc, upgrade} {
		for _, row := range regexp.MustCompile("(?m)^\\| (`[A-Z][A-Za-z]+`(?:, `[A-Z][A-Za-z]+`)*) \\|").FindAllStringSubmatch(text, -1) {
			for reason := range strings.SplitSeq(row[1], ", ") {
				reason = strings.Trim(reason, "`")
				if !slices.Contains(exist, reason) {
					t.Errorf("%s is documented and does not exist", reason)
				}
			}
		}
	}
}

func TestDeadlinesOfAHandover(t *testing.T) {
	d := handover.Deadlines{}.Defaulted()
	doc := section(t, "handover.md", "Handover")
	rows := map[handover.Phase][]time.Duration{
		handover.PhaseHello: {d.Hello}, handover.PhaseWarm: {d.Warm}, handover.PhaseReady: {d.Ready},
		handover.PhaseAccept: {d.Accept}, handover.PhaseMove: {d.Prepare, d.Commit, d.Move}, handover.PhaseDone: {d.Done},
	}
	for phase, want := range rows {
		row := regexp.MustCompile("(?m)^\\| `" + phase.String() + "` \\|[^|]*\\|([^|]*)\\|").FindStringSubmatch(doc)
		if row == nil {
			t.Errorf("the step %s is not in handover.md", phase)
			continue
		}
		var got []time.Duration
		for _, m := range regexp.MustCompile(`([0-9]+) s\b`).FindAllStringSubmatch(row[1], -1) {
			n, _ := strconv.Atoi(m[1])
			got = append(got, time.Duration(n)*time.Second)
		}
		if !slices.Equal(got, want) {
			t.Errorf("deadlines of %s: documented %v, they are %v", phase, got, want)
		}
	}
	if !strings.Contains(doc, "up to "+strconv.Itoa(handover.DefaultBatchLimit)+" connections") {
		t.Errorf("a batch has %d connections", handover.DefaultBatchLimit)
	}
}
