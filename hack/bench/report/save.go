package report

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Save writes results.csv and results.svg into a folder.
func Save(folder string, rows []Row) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("folder for the results: %w", err)
	}
	for name, write := range map[string]func(io.Writer, []Row) error{"results.csv": WriteCSV, "results.svg": Plot} {
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
