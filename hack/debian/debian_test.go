package debian

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"
)

func TestMissing(t *testing.T) {
	here := filepath.Join(t.TempDir(), "here")
	if err := os.WriteFile(here, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	all := []Program{
		{"z", []string{"/nowhere/z"}}, {"ok", []string{"/nowhere", here}},
		{"a", []string{"no-such-program-a"}}, {"z", []string{"/nowhere/zz"}},
	}
	if diff := cmp.Diff([]string{"a", "z"}, Missing(all)); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

func TestWhatIsThereIsNotInstalled(t *testing.T) {
	var said bytes.Buffer
	if err := Require(t.Context(), &said, clock.RealClock{}, []Program{{"libc-bin", []string{"/proc/self/exe"}}}); err != nil || said.Len() > 0 {
		t.Errorf("it says %q and returns %v", said.String(), err)
	}
}
