package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	dir, err := os.MkdirTemp("", "axle-slots") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
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

// callers connect again and again, and every one of them has to be served.
type callers struct {
	t        *testing.T
	stopping chan struct{}
	running  sync.WaitGroup

	mu       sync.Mutex
	count    int
	failures []error
	slowest  time.Duration
}

func newCallers(t *testing.T, port, n int) *callers {
	c := &callers{t: t, stopping: make(chan struct{})}
	for range n {
		c.running.Go(func() {
			for {
				select {
				case <-c.stopping:
					return
				default:
				}
				began := time.Now()
				err := call(port)
				c.mu.Lock()
				c.count++
				c.slowest = max(c.slowest, time.Since(began))
				if err != nil {
					c.failures = append(c.failures, err)
				}
				c.mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
	}
	return c
}

func call(port int) error {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte("ping")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 4))
	return err
}

func (c *callers) served() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

func (c *callers) refused() []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []error
	for _, err := range c.failures {
		if strings.HasPrefix(err.Error(), "refused") {
			all = append(all, err)
		}
	}
	return all
}

func (c *callers) stop() {
	close(c.stopping)
	c.running.Wait()
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
