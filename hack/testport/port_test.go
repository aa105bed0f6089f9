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
	seen := map[int]bool{}
	for range 3 * size { // listening on each, so that the process needs further blocks
		p := Free(t)
		if seen[p] || p >= 32768 {
			t.Fatalf("port %d, seen before: %v", p, seen[p])
		}
		seen[p] = true
		l, err := listen(p)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
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

// TestPortsComeAgain when nobody listens on them any more, after as many others as there are; some may belong to strangers.
func TestPortsComeAgain(t *testing.T) {
	seen := map[int]bool{}
	p := Free(t)
	for ; !seen[p]; p = Free(t) {
		seen[p] = true
	}
	if len(seen) < len(mine.ports)*9/10 {
		t.Errorf("port %d comes again after %d of %d others", p, len(seen), len(mine.ports))
	}
}
