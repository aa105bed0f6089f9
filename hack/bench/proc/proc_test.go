package proc

import (
	"os"
	"testing"
	"time"
)

func TestReadSeesTheCPUThatIsBurnt(t *testing.T) {
	before, err := Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
		if _, err := os.ReadFile("/proc/self/stat"); err != nil {
			t.Fatal(err)
		}
	}
	after, err := Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if used := after.CPU - before.CPU; used < 10*time.Millisecond || used > 2*time.Second {
		t.Errorf("burnt %v in 200 ms", used)
	}
	if after.Reads <= before.Reads {
		t.Errorf("reads went from %d to %d", before.Reads, after.Reads)
	}
	if n, err := Runnable(); err != nil || n < 1 {
		t.Errorf("runnable tasks: %d, %v", n, err)
	}
}

func TestBusyGrowsWithWork(t *testing.T) {
	before, err := Busy()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
	}
	after, err := Busy()
	if err != nil {
		t.Fatal(err)
	}
	if d := after - before; d < 20*time.Millisecond {
		t.Errorf("the machine worked %v while this test burnt a core for 200 ms", d)
	}
}

func TestReadOfNoProcess(t *testing.T) {
	if _, err := Read(1 << 30); err == nil {
		t.Error("no error")
	}
}
