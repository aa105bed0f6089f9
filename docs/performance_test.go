package docs_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/axlemesh/axle/hack/bench/matrix"
	"github.com/axlemesh/axle/hack/bench/report"
)

var rewrite = flag.Bool("update", false, "make the documents about performance of their results again")

// TestThePerformanceIsOfTheResults writes what is made of the single results again.
func TestThePerformanceIsOfTheResults(t *testing.T) {
	rows, err := report.Load("performance")
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 {
		t.Fatal("there are no results")
	}
	again := t.TempDir()
	if *rewrite {
		again = "performance"
	}
	if err := report.Save(again, rows); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"results.csv", "results.md", "results.svg"} {
		b, err := os.ReadFile(filepath.Join(again, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, []byte(read(t, "performance/"+name))) {
			t.Errorf("docs/performance/%s is not what the bench makes of its results", name)
		}
	}
}

// TestThePerformanceNamesWhatExists checks paths, links, commands, parts and flags of the document about the bench.
func TestThePerformanceNamesWhatExists(t *testing.T) {
	const doc = "performance/README.md"
	text, makefile, program := read(t, doc), read(t, "../Makefile"), read(t, "../hack/bench/main.go")
	for _, m := range regexp.MustCompile("`(hack/[A-Za-z0-9_./-]*)`").FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Errorf("%s names %s, which does not exist", doc, m[1])
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("performance", m[1])); err != nil {
			t.Errorf("%s links to %s, which does not exist", doc, m[1])
		}
	}
	commands := lines(t, doc, "sh")
	if len(commands) != 4 {
		t.Errorf("%d commands, want 4", len(commands))
	}
	for _, line := range commands {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if words[0] != "make" || !strings.Contains(makefile, "\n"+words[1]+":") {
			t.Errorf("%s: there is no such target", line)
		}
		for _, w := range words[2:] {
			name, value, _ := strings.Cut(w, "=")
			if !strings.Contains(makefile, "$(if $("+name+"),") {
				t.Errorf("%s: the Makefile knows no %s", line, name)
			}
			for part := range strings.SplitSeq(value, ",") {
				if name == "BENCH" && !slices.Contains(matrix.Parts(), part) {
					t.Errorf("%s: there is no part %s", line, part)
				}
			}
		}
	}
	for _, part := range matrix.Parts() {
		if !strings.Contains(text, "`"+part+"`") {
			t.Errorf("%s does not name the part %s", doc, part)
		}
	}
	for _, m := range regexp.MustCompile("`go run ./hack/bench -([a-z]+)`").FindAllStringSubmatch(text, -1) {
		if !strings.Contains(program, `"`+m[1]+`"`) {
			t.Errorf("the bench has no flag -%s", m[1])
		}
	}
}
