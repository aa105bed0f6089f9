package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteText writes the status for a person.
func (s *Status) WriteText(w io.Writer) error {
	var t table
	if len(s.Fleets) == 0 {
		t.line("No SidecarFleet in this cluster.")
	} else {
		t.row("FLEET", "VERSION", "CURRENT", "UPDATE", "MATCHED", "INJECTED", "UPDATED", "CARRYING", "FAILED", "BLOCKED", "STEP")
	}
	for _, f := range s.Fleets {
		p := f.Pods
		t.row(f.Name, f.Version, f.CurrentVersion, f.UpdateVersion, p.Matched, p.Injected, p.Updated, p.Carrying, p.Failed, p.Blocked, f.step())
	}
	for _, f := range s.Fleets {
		t.line("")
		f.table(&t)
	}
	if len(s.Left) > 0 {
		t.line("")
		t.line("Of fleets that are gone")
		t.pods(s.Left)
	}
	return t.flush(w)
}

// step is how many steps of the rollout are complete.
func (f FleetStatus) step() string {
	if len(f.Steps) == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", f.Step.Index, len(f.Steps))
}

func (f FleetStatus) table(t *table) {
	t.line("Fleet " + f.Name)
	if f.Stale {
		t.line("  The operator has not looked at this fleet's last change yet; what follows is from before it.")
	}
	for _, c := range f.Conditions {
		t.row("  "+c.Type, c.Status, c.Reason, c.Message)
	}
	if h := f.Handover; h.ConnectionsMoved > 0 || h.ConnectionsLost > 0 {
		text := fmt.Sprintf("  Handovers to %s: %s moved, %d lost", f.UpdateVersion, count(h.ConnectionsMoved, "connection"), h.ConnectionsLost)
		if h.FreezeP99 != nil {
			text += fmt.Sprintf(", in the slowest pod 99 of 100 stood still for at most %s", h.FreezeP99.Duration)
		}
		t.line(text + ".")
	}
	t.line("")
	if len(f.Members) == 0 {
		t.line("  No pods.")
		return
	}
	t.pods(f.Members)
}

func (t *table) pods(members []PodStatus) {
	t.row("  NAMESPACE", "POD", "VERSION", "GENERATION", "PHASE", "CARRYING", "HANDOVER", "NOTE")
	for _, p := range members {
		generation := ""
		if p.Generation != 0 {
			generation = fmt.Sprint(p.Generation)
		}
		t.row("  "+p.Namespace, p.Name, p.Version, generation, p.Phase, yesNo(p.Carrying), handoverShort(p.Handover), p.remark())
	}
}

// remark is what a person has to know first about a pod.
func (p PodStatus) remark() string {
	var parts []string
	for _, part := range []string{p.Skipped, p.Failure, p.Note} {
		if part != "" && (part != p.Note || len(parts) == 0) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "; ")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// table collects lines and aligns the cells of neighbouring rows.
type table struct {
	out     bytes.Buffer
	columns *tabwriter.Writer
}

// row adds a row; an empty cell is shown as a dash.
func (t *table) row(cells ...any) {
	if t.columns == nil {
		t.columns = tabwriter.NewWriter(&t.out, 0, 8, 2, ' ', 0)
	}
	for i, c := range cells {
		text := strings.Join(strings.Fields(fmt.Sprint(c)), " ")
		if i == 0 {
			text = strings.TrimRight(fmt.Sprint(c), " ")
		} else {
			fmt.Fprint(t.columns, "\t")
		}
		if text == "" && i < len(cells)-1 {
			text = "-"
		}
		fmt.Fprint(t.columns, text)
	}
	fmt.Fprintln(t.columns)
}

// line adds a line that stands by itself and ends the rows before it.
func (t *table) line(text string) {
	t.align()
	fmt.Fprintln(&t.out, text)
}

func (t *table) align() {
	if t.columns != nil {
		_ = t.columns.Flush() // into memory
		t.columns = nil
	}
}

// flush writes all, without spaces at the ends of lines.
func (t *table) flush(w io.Writer) error {
	t.align()
	for line := range strings.Lines(t.out.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}
