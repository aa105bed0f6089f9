package testport

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestPortsAreNobodysElse: no port comes twice in a row of calls, is in use, is one of the kernel's for clients, or is another process's.
func TestPortsAreNobodysElse(t *testing.T) {
	if os.Getenv("AXLE_TESTPORT") != "" {
		fmt.Println("port", Free(t))
		return
	}
	taken, err := listen(Free(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	seen := map[int]bool{}
	for range size - 2 {
		p := Free(t)
		if seen[p] || p >= 32768 || p <= mine.base || p >= mine.base+size {
			t.Fatalf("port %d of the block at %d, seen before: %v", p, mine.base, seen[p])
		}
		seen[p] = true
	}
	if fmt.Sprintf("127.0.0.1:%d", Free(t)) == taken.Addr().String() {
		t.Error("a port that is listened on")
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestPortsAreNobodysElse$", "-test.v")
	cmd.Env = append(os.Environ(), "AXLE_TESTPORT=1")
	out, err := cmd.CombinedOutput()
	_, rest, ok := strings.Cut(string(out), "port ")
	var theirs int
	if _, scan := fmt.Sscan(rest, &theirs); err != nil || !ok || scan != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if seen[theirs] {
		t.Errorf("port %d is another process's too", theirs)
	}
}
