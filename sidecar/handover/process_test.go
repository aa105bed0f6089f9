package handover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
)

// The candidate of these tests is another process: this test binary, told by its environment to be one.
const (
	childAddr  = "AXLE_HANDOVER_CHILD_ADDRESS"
	childHurt  = "AXLE_HANDOVER_CHILD_HURT"  // "kill:N" or "stop:N": what happens to it at its Nth event
	childFiles = "AXLE_HANDOVER_CHILD_FILES" // RLIMIT_NOFILE, set when the handover has begun
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(childAddr); addr != "" {
		if err := childCandidate(addr); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// hurt wraps a machine so that something happens at its nth event.
type hurt struct {
	machine
	left int
	do   func()
}

func (h *hurt) Step(e Event) []Action {
	if h.left--; h.left == 0 {
		h.do()
	}
	return h.machine.Step(e)
}

// childCandidate takes over, prints its result, and answers every byte on its connections with a "c" until it is killed.
func childCandidate(addr string) error {
	cand := &candHost{}
	cfg := TakeConfig{
		Address: addr, Key: testKey, From: 1, To: 2, Candidate: cand, Clock: time.Now, Log: logr.Discard(), Features: FeatureParts,
		AdoptSockets: func([]Socket) error { return nil },
		Deadlines:    Deadlines{Warm: 5 * time.Second, Move: 5 * time.Second},
	}
	how, at, _ := strings.Cut(os.Getenv(childHurt), ":")
	n, _ := strconv.Atoi(at)
	files, _ := strconv.Atoi(os.Getenv(childFiles))
	cfg.tamper = func(s *session) {
		s.m = &hurt{machine: s.m, left: n, do: func() {
			sig := syscall.SIGKILL
			if how == "stop" {
				sig = syscall.SIGSTOP
			}
			_ = syscall.Kill(os.Getpid(), sig)
			time.Sleep(300 * time.Millisecond) // a signal takes effect a moment later; a stopped process sleeps on
		}}
		if files > 0 {
			_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(files), Max: uint64(files)})
		}
	}
	bg, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := Take(bg, cfg)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	for _, c := range cand.active {
		go func() {
			f := os.NewFile(uintptr(c.FD), "conn")
			for b := make([]byte, 8); ; {
				if _, err := f.Read(b); err != nil {
					return
				}
				_, _ = f.Write([]byte("c"))
			}
		}()
	}
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // until the parent lets go
	return nil
}

// child is a candidate process.
type child struct {
	cmd *exec.Cmd
	out *bufio.Reader
	end func()
}

func startChild(t *testing.T, addr string, env ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, childAddr+"="+addr)...)
	cmd.Stderr = os.Stderr
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
	c := &child{cmd: cmd, out: bufio.NewReader(out)}
	c.end = func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	return c
}

// result is what the child reports; ok is false when it died before.
func (c *child) result() (Result, bool) {
	var r Result
	line, err := c.out.ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &r) != nil {
		return r, false
	}
	return r, true
}

// wake continues a stopped child, again and again: the stop may come later than the first signal.
func (c *child) wake() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			_ = c.cmd.Process.Signal(syscall.SIGCONT)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(done); <-ended }
}

// owners counts who answers on each connection: the donor in this process, the child, or nobody any more. Two at once fail
// the test.
func owners(t *testing.T, m *meeting, far, near []int) (donor, cand, closed int) {
	t.Helper()
	here := map[int]bool{}
	for _, fd := range m.donor.active {
		here[fd] = true
	}
	buf := make([]byte, 8)
	for i, fd := range far {
		if _, err := unix.Write(fd, []byte{byte(i)}); err != nil {
			closed++
			continue
		}
		if here[near[i]] {
			time.Sleep(50 * time.Microsecond) // whoever else reads it now is one too many
			if n, err := unix.Read(near[i], buf); err != nil || n != 1 || buf[0] != byte(i) {
				t.Fatalf("connection %d is the donor's, but its byte did not come: %d, %v", i, n, err)
			}
			donor++
			continue
		}
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(p, 3000); err != nil || n == 0 {
			t.Fatalf("nobody answers on connection %d: %v", i, err)
		}
		if n, err := unix.Read(fd, buf); err != nil || n == 0 {
			closed++
		} else {
			cand++
		}
	}
	return donor, cand, closed
}

func shortDeadlines() Deadlines {
	d := 250 * time.Millisecond
	return Deadlines{Hello: d, Warm: d, Ready: d, Accept: d, Prepare: d, Commit: d, Done: d, Move: d}
}

// TestCandidateKilledAtEveryEvent kills a real candidate, -9, at each event of its machine.
func TestCandidateKilledAtEveryEvent(t *testing.T) {
	t.Parallel()
	sweep(t, "kill", 200)
}

// TestCandidateStoppedAtEveryEvent stops a real candidate at each event, lets the donor give it up, and continues it: it
// must find out, and keep its hands off whatever the donor took back.
func TestCandidateStoppedAtEveryEvent(t *testing.T) {
	t.Parallel()
	sweep(t, "stop", 200)
}

func sweep(t *testing.T, how string, conns int) {
	for n := 1; ; n++ {
		finished := false
		t.Run(fmt.Sprintf("event %d", n), func(t *testing.T) {
			m := newMeeting(t)
			m.serve.Deadlines = shortDeadlines()
			m.inParts(25)
			near, far := pairs(t, conns)
			m.donor.active = append([]int(nil), near...)
			c := startChild(t, m.take.Address, fmt.Sprintf("%s=%s:%d", childHurt, how, n))
			defer c.end()
			served, err := Serve(t.Context(), m.serve)
			if err != nil {
				t.Fatal(err)
			}
			if how == "stop" {
				stop := c.wake()
				defer stop()
			}
			taken, lives := c.result()
			if served.OK && !lives {
				return // it was hurt when everything was over
			}
			donor, cand, closed := owners(t, m, far, near)
			t.Logf("donor %v, candidate %v (%v): %d here, %d there, %d closed", served, taken, lives, donor, cand, closed)
			if donor != conns-int(served.Moved) || closed != int(served.Lost) || cand != int(served.Moved-served.Lost) {
				t.Errorf("moved %d and lost %d do not add up", served.Moved, served.Lost)
			}
			if !served.OK && !m.donor.accepting {
				t.Error("the donor does not accept any more")
			}
			if how == "stop" && (served.Lost != 0 || taken.Moved != served.Moved) {
				t.Errorf("lost %d, moved %d, the candidate says %d", served.Lost, served.Moved, taken.Moved)
			}
			finished = lives && served.OK && taken.OK
		})
		if t.Failed() {
			return
		}
		if finished {
			if n < 15 {
				t.Errorf("the handover ended after %d events already", n)
			}
			return
		}
	}
}

// TestTornAtEveryEvent shuts the socket down, for both, at each event of either machine.
func TestTornAtEveryEvent(t *testing.T) {
	t.Parallel()
	for side, name := range []string{"donor", "candidate"} {
		for n, finished := 1, false; !finished && !t.Failed(); n++ {
			t.Run(fmt.Sprintf("%s event %d", name, n), func(t *testing.T) {
				m := newMeeting(t)
				m.inParts(25)
				near, far := pairs(t, 150)
				m.donor.active = append([]int(nil), near...)
				tear := func(s *session) {
					s.m = &hurt{machine: s.m, left: n, do: func() {
						_ = s.link.c.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
					}}
				}
				if side == 0 {
					m.serve.tamper = tear
				} else {
					m.take.tamper = tear
				}
				o := m.run(t)
				if o.serveErr != nil || o.takeErr != nil || o.served.Lost != 0 {
					t.Fatalf("donor %v (%v), candidate %v (%v)", o.served, o.serveErr, o.taken, o.takeErr)
				}
				speak(t, far, append(connFDs(m.cand.active), m.donor.active...))
				if len(m.donor.active)+int(o.served.Moved) != 150 || o.served.Moved != o.taken.Moved {
					t.Errorf("donor %v with %d, candidate %v", o.served, len(m.donor.active), o.taken)
				}
				if !o.served.OK && !m.donor.accepting {
					t.Error("the donor does not accept any more")
				}
				finished = o.served.OK && o.taken.OK
			})
		}
	}
}

// TestDroppedDescriptors lets the candidate run out of descriptors in the middle: the kernel drops them silently.
func TestDroppedDescriptors(t *testing.T) {
	m := newMeeting(t)
	near, far := pairs(t, 200)
	m.donor.active = append([]int(nil), near...)
	c := startChild(t, m.take.Address, childFiles+"=100")
	defer c.end()
	served, err := Serve(t.Context(), m.serve)
	if err != nil {
		t.Fatal(err)
	}
	taken, _ := c.result()
	if served.OK || served.Step != "Move" || !strings.Contains(served.Reason, "descriptors were dropped") || served.Moved != taken.Moved {
		t.Errorf("donor %v, candidate %v", served, taken)
	}
	donor, cand, closed := owners(t, m, far, near)
	if closed != 0 || cand != int(served.Moved) || donor+cand != 200 {
		t.Errorf("%d here, %d there, %d closed; donor %v", donor, cand, closed, served)
	}
	t.Logf("donor %v, candidate %v", served, taken)
}

// TestResumedOfADeadCandidate: a candidate that dies with unread packets makes the kernel report ECONNRESET before what
// the candidate had sent. RESUMED must be found all the same.
func TestResumedOfADeadCandidate(t *testing.T) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	here, err := newConn(p[0])
	if err != nil {
		t.Fatal(err)
	}
	there, err := newConn(p[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(here.say(Message{Kind: KindCommit, ID: 7}), there.say(Message{Kind: KindResumed, ID: 7}), there.Close()); err != nil {
		t.Fatal(err)
	}
	b, _, err := here.recv(make([]byte, MaxPacket))
	if h, _, perr := parsePacket(b); err != nil || perr != nil || h.kind != KindResumed {
		t.Errorf("got %v (%v, %v), want resumed", h.kind, err, perr)
	}
	if b, _, err = here.recv(make([]byte, MaxPacket)); err != nil || len(b) != 0 {
		t.Errorf("then %q, %v, want the end", b, err)
	}
	if err := here.Close(); err != nil {
		t.Error(err)
	}
}
