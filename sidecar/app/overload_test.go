package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/axlemesh/axle/sidecar/overload"
)

// TestLargeFramesHaveABound also when the process was not told what it may have.
func TestLargeFramesHaveABound(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "proc/meminfo"), []byte("MemTotal: 4096 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &overload.Reader{Root: root}
	if n := largeBytes(400, r); n != 100 {
		t.Errorf("%d bytes of 400, want a quarter", n)
	}
	if n := largeBytes(0, r); n != 1<<20 {
		t.Errorf("%d bytes of the machine's 4 MiB, want a quarter", n)
	}
}
