package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Document writes figures and medians for people to read, made of single results alone.
func Document(w io.Writer, rows []Row) error {
	s := Summarize(rows, nil)
	if _, err := fmt.Fprintf(w, "# Results\n\nWritten by the bench of its single results, `results.csv`: medians of %d repetitions, ratios made within one repetition.\n"+
		"[README.md](README.md) says how they were made and what they do not say.\n\n```text\n%s\n%s```\n\n![CPU time for one request](results.svg)\n\n", s.Repetitions, s.Line(), s.Goals()); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return Markdown(w, rows)
}

// Load reads the single results of a folder; there are none where nothing was saved.
func Load(folder string) ([]Row, error) {
	f, err := os.Open(filepath.Join(folder, "results.csv"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("earlier results: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	return ReadCSV(f)
}

// Merge returns the new results and, of the old ones, those of loads that were not measured now.
func Merge(old, now []Row) []Row {
	again := map[string]bool{}
	for _, r := range now {
		again[r.Load] = true
	}
	var all []Row
	for _, r := range old {
		if !again[r.Load] {
			all = append(all, r)
		}
	}
	return append(all, now...)
}

// Save writes results.csv, results.md and results.svg into a folder. The other two are made of what the first says, so that
// they can be made of it again.
func Save(folder string, rows []Row) error {
	var said bytes.Buffer
	if err := WriteCSV(&said, rows); err != nil {
		return err
	}
	rows, err := ReadCSV(&said)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("folder for the results: %w", err)
	}
	for name, write := range map[string]func(io.Writer, []Row) error{"results.csv": WriteCSV, "results.md": Document, "results.svg": Plot} {
		f, err := os.Create(filepath.Join(folder, name))
		if err != nil {
			return fmt.Errorf("write the results: %w", err)
		}
		if err := write(f, rows); err != nil {
			_ = f.Close() // the first error counts
			return err
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}
