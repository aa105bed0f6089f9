// Package main's tests in this file guard the repository's own rules: who may import whom, how long a file may be, and
// that the documents name what exists. Run them with -count=1: the test cache does not see other packages' files.
package main

import (
	"bytes"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/axlemesh/axle"

// arrow says what the packages below a folder may import. Everything that no arrow allows is forbidden for them.
type arrow struct {
	under  string
	ours   []string // folders of this module, besides its own
	theirs []string // prefixes of import paths; the standard library is always allowed
}

var grpcAndXDS = []string{
	"google.golang.org/grpc", "google.golang.org/protobuf", "github.com/envoyproxy/go-control-plane", "github.com/cncf/xds/go", "google.golang.org/genproto",
}

var arrows = []arrow{
	{under: "api/bootstrap"},
	{under: "api/membership", ours: []string{"api/v1alpha1"}, theirs: []string{"k8s.io/api", "k8s.io/apimachinery"}},
	{under: "api/v1alpha1", theirs: []string{"k8s.io/api", "k8s.io/apimachinery", "sigs.k8s.io/controller-runtime/pkg/scheme"}},
	{under: "api/control", theirs: []string{"google.golang.org/grpc", "google.golang.org/protobuf"}},
	{under: "sidecar/codec/tls", theirs: []string{"golang.org/x/crypto/chacha20poly1305"}},
	{under: "sidecar/codec", ours: []string{"sidecar/codec"}},
	{under: "sidecar/address"},
	{under: "sidecar/route", ours: []string{"sidecar/config"}},
	{under: "sidecar/loop", ours: []string{"sidecar/address"}, theirs: []string{"golang.org/x/sys"}},
	{under: "sidecar/handover", theirs: []string{"golang.org/x/sys", "github.com/go-logr/logr"}},
	{under: "sidecar", ours: []string{"sidecar", "api/bootstrap", "api/control"}, theirs: append([]string{
		"golang.org/x/sys", "github.com/go-logr/logr", "github.com/prometheus", "go.yaml.in/yaml",
	}, grpcAndXDS...)},
	{under: "cmd", ours: []string{"api/v1alpha1", "api/membership", "controllers/sidecars"}, theirs: []string{
		"k8s.io", "sigs.k8s.io", "github.com/spf13/cobra", "github.com/go-logr/logr",
	}},
	{under: "webhook/inject", ours: []string{"api"}, theirs: []string{"k8s.io/api", "k8s.io/apimachinery", "k8s.io/utils/ptr"}},
	{under: "controllers", ours: []string{"controllers", "api", "webhook/inject"}, theirs: append([]string{
		"k8s.io", "sigs.k8s.io", "github.com/go-logr/logr", "github.com/prometheus", "golang.org/x/sync", "golang.org/x/time",
		"github.com/google/go-containerregistry",
	}, grpcAndXDS...)},
}

// mains choose the log sink; nothing else may.
var mains = map[string]bool{"main.go": true, "sidecar/main.go": true}

// goFiles lists the repository's Go files, tests too.
func goFiles(t *testing.T) []string {
	t.Helper()
	return tracked(t, "*.go")
}

func tracked(t *testing.T, patterns ...string) []string {
	t.Helper()
	out, err := exec.Command("git", append([]string{"ls-files", "--cached", "--others", "--exclude-standard", "--"}, patterns...)...).Output()
	if err != nil {
		t.Fatalf("list the repository's files: %v", err)
	}
	var files []string
	for f := range strings.FieldsSeq(string(out)) {
		if _, err := os.Stat(f); err == nil {
			files = append(files, f)
		}
	}
	return files
}

func TestImportsFollowTheArrows(t *testing.T) {
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "hack/") {
			continue
		}
		for _, imported := range imports(t, file) {
			if strings.Contains(imported, "go.uber.org/zap") || imported == "github.com/go-logr/zapr" {
				if !mains[file] {
					t.Errorf("%s imports %s: take a logr.Logger; only the mains choose the sink", file, imported)
				}
				continue
			}
			if a := arrowFor(file); a != nil && !mains[file] && !a.allows(imported) {
				t.Errorf("%s imports %s, which nothing below %s may", file, imported, a.under)
			}
		}
	}
}

func imports(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// arrowFor returns the first, and so the narrowest, arrow for a file.
func arrowFor(file string) *arrow {
	for i := range arrows {
		if strings.HasPrefix(file, arrows[i].under+"/") {
			return &arrows[i]
		}
	}
	return nil
}

func (a *arrow) allows(imported string) bool {
	if local, ok := strings.CutPrefix(imported, module+"/"); ok {
		for _, folder := range append(a.ours, a.under) {
			if local == folder || strings.HasPrefix(local, folder+"/") {
				return true
			}
		}
		return false
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return true
	}
	for _, prefix := range a.theirs {
		if imported == prefix || strings.HasPrefix(imported, prefix+"/") {
			return true
		}
	}
	return false
}

func TestFilesAreShort(t *testing.T) {
	const limit = 400
	for _, file := range goFiles(t) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if generated(b) {
			continue
		}
		if n := bytes.Count(b, []byte("\n")); n > limit {
			t.Errorf("%s has %d lines, at most %d: split it along a seam", file, n, limit)
		}
	}
}

func generated(b []byte) bool {
	head, _, _ := bytes.Cut(b, []byte("\npackage "))
	return bytes.Contains(head, []byte("Code generated"))
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	documented := map[string]bool{}
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		documented[path.Dir(file)] = documented[path.Dir(file)] || f.Doc != nil
	}
	for folder, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", folder)
		}
	}
}

func TestNoPackageIsADrawer(t *testing.T) {
	for _, file := range goFiles(t) {
		switch name := path.Base(path.Dir(file)); name {
		case "util", "utils", "common", "helper", "helpers", "misc":
			t.Errorf("%s: a package called %s says nothing about what is in it", file, name)
		}
	}
}

// TestTheRepositoryStandsAlone looks for paths of one machine.
func TestTheRepositoryStandsAlone(t *testing.T) {
	machine := regexp.MustCompile(`/wor` + `k/|/roo` + `t/`)
	for _, file := range tracked(t) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.ContainsRune(b, 0) && machine.Match(b) {
			t.Errorf("%s names a path of one machine: %s", file, machine.Find(b))
		}
	}
}

// TestDocumentsNameWhatExists checks every path in backquotes and every link of the documents at the root.
func TestDocumentsNameWhatExists(t *testing.T) {
	named := regexp.MustCompile("`([a-z.][A-Za-z0-9_.*-]*/[A-Za-z0-9_./*-]*)`|\\]\\(([^)#:]+)\\)")
	testName := regexp.MustCompile("`(Test[A-Za-z0-9_]+|Fuzz[A-Za-z0-9_]+)`")
	var all bytes.Buffer
	for _, file := range goFiles(t) {
		if b, err := os.ReadFile(file); err == nil && strings.HasSuffix(file, "_test.go") {
			all.Write(b)
		}
	}
	for _, doc := range []string{"ARCHITECTURE.md", "README.md"} {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllSubmatch(b, -1) {
			p := string(m[1]) + string(m[2])
			if found, err := filepath.Glob(p); err != nil || len(found) == 0 {
				t.Errorf("%s names %s, which does not exist", doc, p)
			}
		}
		for _, m := range testName.FindAllSubmatch(b, -1) {
			if !bytes.Contains(all.Bytes(), []byte("func "+string(m[1])+"(")) {
				t.Errorf("%s names the test %s, which does not exist", doc, m[1])
			}
		}
	}
}
