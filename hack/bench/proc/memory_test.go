package proc

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"testing"
)

func TestMemoryCountsChildren(t *testing.T) {
	alone := MemoryOf(os.Getpid())
	if alone.Anon <= 0 || alone.Resident < alone.Anon {
		t.Errorf("this process has %+v", alone)
	}
	cmd := exec.Command("sh", "-c", "echo up; read line")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if got := Children(os.Getpid()); !slices.Contains(got, cmd.Process.Pid) {
		t.Errorf("children %v without %d", got, cmd.Process.Pid)
	}
	if child := MemoryOf(cmd.Process.Pid); child.Resident <= 0 {
		t.Errorf("the child has %+v", child)
	}
	_ = in.Close()
	_ = cmd.Wait() // the end of its input is a failure of read
	if gone := MemoryOf(cmd.Process.Pid); gone != (Memory{}) {
		t.Errorf("a process that has ended has %+v", gone)
	}
}

func TestLimitsAreRead(t *testing.T) {
	l, err := ReadLimits()
	if err != nil {
		t.Fatal(err)
	}
	if l.Descriptors < 16 || l.Files < l.Descriptors/1000 || l.Ports < 1 {
		t.Errorf("limits %+v", l)
	}
	if _, err := numbers("/proc/self/comm"); err == nil {
		t.Error("a name is taken for a number")
	}
}
