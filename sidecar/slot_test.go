package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/axlemesh/axle/api/bootstrap"
	controlv1 "github.com/axlemesh/axle/api/control/v1"
	"github.com/axlemesh/axle/sidecar/slot"
)

// slotted is a pod with two slots. The test plays the kubelet: a flip is a changed file and a container that starts anew.
type slotted struct {
	*pod
	dir  string
	what slotsFile
	a, b *process
}

type slotsFile struct {
	Serving int64    `json:"serving"`
	A       slotFile `json:"a"`
	B       slotFile `json:"b"`
}

type slotFile struct {
	Generation int64  `json:"generation"`
	Version    string `json:"version"`
}

func newSlotted(t *testing.T) *slotted {
	t.Helper()
	dir := t.TempDir()
	s := &slotted{pod: newPod(t), dir: dir, what: slotsFile{Serving: 2, A: slotFile{2, "v1"}, B: slotFile{1, "v1"}}}
	s.annotate()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(projectedToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// annotate writes the slots' file as the kubelet does.
func (s *slotted) annotate() {
	s.t.Helper()
	b, err := json.Marshal(s.what)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, "slots.new"), b, 0o600)
	}
	if err == nil {
		err = os.Rename(filepath.Join(s.dir, "slots.new"), filepath.Join(s.dir, "slots"))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *slotted) env(name string) []string {
	b, err := json.Marshal(bootstrap.Bootstrap{
		Node:     bootstrap.Node{ID: "uid", Namespace: "shop", Pod: "pay-1", Container: "axle-" + name},
		Operator: &bootstrap.Operator{Address: s.addr, ServerName: "operator.test", CA: s.ca},
		Admin:    fmt.Sprintf("127.0.0.1:%d", s.admin), MeshAPI: fmt.Sprintf("127.0.0.1:%d", s.meshAPI),
		Handover:                bootstrap.Handover{Socket: filepath.Join(s.dir, "run", "handover.sock")},
		Slot:                    &bootstrap.Slot{Name: name, Dir: s.dir, File: filepath.Join(s.dir, "slots"), TokenFile: filepath.Join(s.dir, "token")},
		TerminationGraceSeconds: 10,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return []string{bootstrap.Env + "=" + string(b)}
}

// start runs the container of a slot, and its postStart.
func (s *slotted) start(name string) *process {
	s.t.Helper()
	p := launch(s.t, fmt.Sprintf("axle-%s %+v", name, s.what), s.env(name), "slot")
	began := time.Now()
	if code := launch(s.t, "slot-ready "+name, s.env(name), "slot-ready").exit(); code != 0 {
		s.t.Errorf("slot-ready exited with %d", code)
	}
	if took := time.Since(began); took > 8*time.Second {
		s.t.Errorf("slot-ready took %s", took)
	}
	if name == "a" {
		s.a = p
	} else {
		s.b = p
	}
	return p
}

// serving waits until a generation says that it serves.
func (s *slotted) serving(generation int64) {
	s.t.Helper()
	want := fmt.Sprintf("\"generation\":%d}\n", generation)
	eventually(s.t, fmt.Sprintf("generation %d serves", generation), func() bool {
		got := get(s.meshAPI, "/state")
		return strings.HasSuffix(got, want) && strings.Contains(got, `"serving"`)
	})
	eventually(s.t, "it listens", func() bool { return get(s.admin, "/readyz") == "ok\n" })
}

func (s *slotted) term() int64 { return slot.Dir(s.dir).Term() }

// crash kills a slot's supervisor and its child as the kernel does when memory runs out.
func crash(p *process) {
	p.t.Helper()
	pid := p.cmd.Process.Pid
	child := childOf(p.t, pid)
	_ = syscall.Kill(child, syscall.SIGKILL)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	p.exit()
}

func TestSlotsStartCold(t *testing.T) {
	s := newSlotted(t)
	s.want(&controlv1.Desired{Generation: 2})
	b := s.start("b") // idles, whoever is first
	s.start("a")
	s.serving(2)
	s.says(2, "its term", func(r *controlv1.Report) bool { return r.GetState().GetTerm() == 1 && r.GetState().GetRestarts() == 0 })
	if got := s.term(); got != 1 {
		t.Errorf("term %d, want 1", got)
	}
	if all := childrenOf(t, b.cmd.Process.Pid); len(all) > 0 {
		t.Errorf("the idle slot has children %v", all)
	}
	if err := syscall.Kill(childOf(t, s.a.cmd.Process.Pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.says(2, "its restart", func(r *controlv1.Report) bool { return r.GetState().GetRestarts() == 1 && r.GetState().GetTerm() == 1 })
	s.serving(2)
	began := time.Now()
	b.signal(syscall.SIGTERM)
	if code := b.exit(); code != 0 || time.Since(began) > 2*time.Second {
		t.Errorf("the idle slot exited with %d after %s", code, time.Since(began))
	}
	if !s.a.running() {
		t.Error("the serving slot is gone")
	}
	s.a.signal(syscall.SIGTERM)
	if code := s.a.exit(); code != 0 {
		t.Errorf("the serving slot exited with %d", code)
	}
}

func TestServingSlotIsKilled(t *testing.T) {
	s := newSlotted(t)
	s.want(&controlv1.Desired{Generation: 2})
	s.start("a")
	s.start("b")
	s.serving(2)
	c := newCallers(t, s.port, 4)
	eventually(t, "callers are served", func() bool { return c.served() > 100 })
	time.Sleep(1200 * time.Millisecond) // the configuration is on the disk
	s.grpc.Stop()                       // nobody says now who is to serve
	crash(s.a)
	from := c.served()
	began := time.Now()
	eventually(t, "callers are served by the other slot", func() bool { return c.served() > from+50 })
	t.Logf("served again %s after the kill", time.Since(began))
	s.serving(1)
	if got := s.term(); got != 2 {
		t.Errorf("term %d, want 2", got)
	}
	s.start("a") // the kubelet's
	from = c.served()
	eventually(t, "they are still", func() bool { return c.served() > from+50 })
	s.serving(1)
	s.up()
	s.says(1, "the second term", func(r *controlv1.Report) bool { return r.GetState().GetTerm() == 2 })
	s.serving(1) // the operator wants generation 2, and cannot have it without a handover
	crash(s.b)
	from = c.served()
	eventually(t, "and by the first one again", func() bool { return c.served() > from+50 })
	s.serving(2)
	c.stop()
	if err := c.refused(); len(err) > 0 {
		t.Errorf("%d of %d calls were refused: %v", len(err), c.served(), err[0])
	}
	if n := len(c.failures); n > 2*4 { // those that were being answered
		t.Errorf("%d of %d calls failed: %v", n, c.served(), c.failures)
	}
	t.Logf("%d calls, slowest %s", c.served(), c.slowest)
}

// flip makes the slot that does not serve the next generation, as the operator and the kubelet do.
func (s *slotted) flip(name string, generation int64) *process {
	s.t.Helper()
	old, self := s.a, &s.what.A
	if name == "b" {
		old, self = s.b, &s.what.B
	}
	*self = slotFile{generation, fmt.Sprintf("v%d", generation)}
	s.annotate()
	select { // the kubelet has not looked yet: the file is faster
	case <-old.done:
		s.t.Errorf("slot %s ended before the kubelet ended it", name)
	case <-time.After(300 * time.Millisecond):
		old.signal(syscall.SIGTERM)
	}
	if code := old.exit(); code != 0 {
		s.t.Errorf("the slot whose generation changed exited with %d", code)
	}
	return s.start(name)
}

// handOver lets the candidate begin, and makes it the one that is to serve.
func (s *slotted) handOver(from, to int64) {
	s.t.Helper()
	s.phase(to, controlv1.State_STARTING)
	s.want(&controlv1.Desired{Generation: to, Predecessor: from, Begin: true, HandoverKey: []byte("one-time")})
	s.phase(to, controlv1.State_SERVING)
	s.what.Serving = to
	s.annotate()
}

func TestSlotsHandOver(t *testing.T) {
	s := newSlotted(t)
	s.want(&controlv1.Desired{Generation: 2})
	s.start("a")
	s.start("b")
	s.serving(2)
	l := newClients(t, s.port, 20)
	c := newCallers(t, s.port, 2)
	l.progress()
	names := map[int64]string{1: "b", 0: "a"}
	for g := int64(3); g <= 6; g++ {
		s.flip(names[g%2], g)
		s.handOver(g-1, g)
		s.serving(g)
		l.progress()
		idle := s.a
		if names[g%2] == "a" {
			idle = s.b
		}
		eventually(t, "the old slot idles", func() bool { return len(childrenOf(t, idle.cmd.Process.Pid)) == 0 })
		if !idle.running() {
			t.Fatalf("the slot that handed over to generation %d is gone", g)
		}
	}
	s.says(6, "the first term", func(r *controlv1.Report) bool { return r.GetState().GetTerm() == 1 })
	s.grpc.Stop()
	from := c.served()
	crash(s.a) // generation 6; connections are lost, but nobody is refused
	eventually(t, "callers are served by the other slot", func() bool { return c.served() > from+50 })
	s.serving(5)
	if got := s.term(); got != 2 {
		t.Errorf("term %d, want 2", got)
	}
	c.stop()
	if err := c.refused(); len(err) > 0 {
		t.Errorf("%d of %d calls were refused: %v", len(err), c.served(), err[0])
	}
	if n := len(c.failures); n > 2 { // those that were being answered at the crash
		t.Errorf("%d of %d calls failed: %v", n, c.served(), c.failures)
	}
	for _, err := range l.failed() {
		if !strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "EOF") {
			t.Errorf("a client: %v", err)
		}
	}
	close(l.stopping)
	l.running.Wait()
}

func TestAWholePodRestartsWithoutAnOperator(t *testing.T) {
	s := newSlotted(t)
	s.want(&controlv1.Desired{Generation: 2})
	s.start("a")
	s.start("b")
	s.serving(2)
	eventually(t, "the configuration is on the disk", func() bool { b, err := slot.Dir(s.dir).State("xds"); return err == nil && len(b) > 0 })
	s.grpc.Stop()
	crash(s.a)
	_ = s.b.cmd.Process.Kill()
	s.b.exit()
	s.start("b")
	s.start("a")
	s.serving(2)
	l := newClients(t, s.port, 3)
	l.progress()
	l.stop()
}

func TestFailedCandidateInASlot(t *testing.T) {
	s := newSlotted(t)
	s.want(&controlv1.Desired{Generation: 2})
	s.start("a")
	s.start("b")
	s.serving(2)
	l := newClients(t, s.port, 5)
	l.progress()
	b := s.flip("b", 3)
	s.phase(3, controlv1.State_STARTING)
	s.mu.Lock()
	s.keys[3] = []byte("another key")
	s.mu.Unlock()
	s.want(&controlv1.Desired{Generation: 3, Predecessor: 2, Begin: true, HandoverKey: []byte("one-time")})
	if code := b.exit(); code != 10 {
		t.Errorf("the candidate's slot exited with %d, want 10", code)
	}
	b = s.start("b") // by the kubelet
	time.Sleep(500 * time.Millisecond)
	if all := childrenOf(t, b.cmd.Process.Pid); len(all) > 0 || !b.running() {
		t.Errorf("the failed candidate is tried again: children %v", all)
	}
	s.want(&controlv1.Desired{Generation: 2})
	s.flip("b", 4) // and another generation is not held back
	s.handOver(2, 4)
	s.serving(4)
	l.progress()
	l.stop()
}

func TestSlotsLeaveAndComeBack(t *testing.T) {
	s := newSlotted(t)
	s.want(&controlv1.Desired{Generation: 2})
	s.start("a")
	s.start("b")
	s.serving(2)
	s.what.Serving = 0
	s.annotate()
	s.phase(2, controlv1.State_LEFT)
	eventually(t, "nobody listens", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	time.Sleep(300 * time.Millisecond)
	for _, p := range []*process{s.a, s.b} {
		if all := childrenOf(t, p.cmd.Process.Pid); len(all) > 0 || !p.running() {
			t.Errorf("%s does not idle: children %v", p.name, all)
		}
	}
	s.what.Serving = 2
	s.annotate()
	s.serving(2)
	l := newClients(t, s.port, 3)
	l.progress()
	l.stop()
	if got := s.term(); got != 2 {
		t.Errorf("term %d, want 2", got)
	}
}
