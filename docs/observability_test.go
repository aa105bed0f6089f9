package docs_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/axlemesh/axle/sidecar/accesslog"
	"github.com/axlemesh/axle/sidecar/admin"
	"github.com/axlemesh/axle/sidecar/proxy"
	"github.com/axlemesh/axle/sidecar/static"
)

var updateTables = flag.Bool("update-tables", false, "write the tables of observability.md that are made of code")

// table is the part of a document between a line that begins it and the next empty line.
func table(t *testing.T, text, begin string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, begin)
	if !ok {
		t.Fatalf("there is no table that begins %q", begin)
	}
	rows, _, _ := strings.Cut(rest, "\n\n")
	return rows + "\n"
}

// TestTablesOfObservability holds the tables of metrics, flags and fields against the code; -update-tables writes them.
func TestTablesOfObservability(t *testing.T) {
	var metrics, fields strings.Builder
	for _, m := range admin.Metrics() {
		labels := "-"
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&metrics, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, labels, m.Help)
	}
	for _, f := range accesslog.Fields() {
		fmt.Fprintf(&fields, "| `%s` | %s |\n", f.Name, f.What)
	}
	text := read(t, "observability.md")
	for begin, want := range map[string]string{
		"| metric | kind | labels | what |\n|---|---|---|---|\n": metrics.String(), "| field | what |\n|---|---|\n": fields.String(),
	} {
		got := table(t, text, begin)
		if *updateTables {
			text = strings.Replace(text, begin+got, begin+want, 1)
			continue
		}
		if got != want {
			t.Errorf("the table is\n%swant\n%s", got, want)
		}
	}
	if *updateTables {
		if err := os.WriteFile("observability.md", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var flags []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(table(t, text, "| flag | the request |\n|---|---|\n"), -1) {
		flags = append(flags, m[1])
	}
	var want []string
	for _, f := range proxy.Flags()[1:] {
		want = append(want, f.String())
	}
	if !slices.Equal(flags, want) {
		t.Errorf("documented flags %v, they are %v", flags, want)
	}
}

// TestQueriesNameWhatExists holds the metrics and labels of the queries against the code.
func TestQueriesNameWhatExists(t *testing.T) {
	labels := map[string][]string{}
	for _, m := range admin.Metrics() {
		labels[m.Name] = m.Labels
		if m.Kind == "histogram" {
			labels[m.Name+"_bucket"] = append(slices.Clone(m.Labels), "le")
		}
	}
	queries := blocks(t, "observability.md", "promql")
	if len(queries) < 8 {
		t.Errorf("only %d queries", len(queries))
	}
	for _, q := range queries {
		var known []string
		for _, m := range regexp.MustCompile(`(axle_[a-z_]+)(\{[^}]*\})?`).FindAllStringSubmatch(q, -1) {
			if labels[m[1]] == nil && !slices.ContainsFunc(admin.Metrics(), func(x admin.Metric) bool { return x.Name == m[1] }) {
				t.Errorf("%s: there is no metric %s", q, m[1])
			}
			known = append(known, labels[m[1]]...)
			for _, l := range regexp.MustCompile(`([a-z_]+)!?=`).FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(labels[m[1]], l[1]) {
					t.Errorf("%s: %s has no label %s", q, m[1], l[1])
				}
			}
		}
		for _, m := range regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(q, -1) {
			for l := range strings.SplitSeq(m[1], ", ") {
				if !slices.Contains(known, l) {
					t.Errorf("%s: nothing has the label %s", q, l)
				}
			}
		}
	}
}

// TestTheAccessLogOfTheDocuments is one that a sidecar takes.
func TestTheAccessLogOfTheDocuments(t *testing.T) {
	for _, sample := range blocks(t, "observability.md", "yaml") {
		b, err := static.Parse("observability.md", []byte(sample))
		if err != nil {
			t.Fatal(err)
		}
		if f, err := static.AccessFilter(b.AccessLog); err != nil || f.Sample == 0 || !f.OnlyErrors || f.SlowerThan == 0 {
			t.Errorf("%+v, %v", f, err)
		}
	}
}
