package proxy

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestStatesOfTheReleaseBefore reads what a build has written that knew no Dubbo, and writes what that build reads.
func TestStatesOfTheReleaseBefore(t *testing.T) {
	files, err := filepath.Glob("testdata/states/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatalf("no states, %v", err)
	}
	all := states()
	for _, file := range files {
		name := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".hex"), "_", " ")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			old, err := hex.DecodeString(string(bytes.TrimSpace(text)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := parseState(old)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(all[name], got, exported); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
			if !bytes.Equal(all[name].write(), old) {
				t.Error("this build writes it another way")
			}
		})
	}
}
