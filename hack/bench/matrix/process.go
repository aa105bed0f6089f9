package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/axlemesh/axle/hack/bench/load"
)

// Which core does what.
const (
	proxyCore     = "0"
	generatorCore = "1"
)

// warm is how long a run goes on before it is measured.
const warm = 300 * time.Millisecond

// process is a program that was started here and will be stopped here.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start runs a program pinned to a core, with its output in a log file.
func (b *bench) start(ctx context.Context, core, log string, args ...string) (*process, error) {
	cmd := exec.CommandContext(ctx, b.Self, append([]string{"pin", core}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	f, err := os.Create(b.path(log))
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", args[0], err)
	}
	defer func() { _ = f.Close() }() // the child has its own
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	p := &process{cmd: cmd, log: f.Name(), done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // it is asked to end by a signal; how it ends does not matter
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.done:
	case <-time.NewTimer(2 * time.Second).C:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// listening waits until addr takes connections, or says what the process that should listen wrote.
func (b *bench) listening(ctx context.Context, addr string, p *process) error {
	for range 200 {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			out, _ := os.ReadFile(p.log)
			return fmt.Errorf("it ended before it listened on %s: %s", addr, bytes.TrimSpace(out))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.NewTimer(50 * time.Millisecond).C:
		}
	}
	out, _ := os.ReadFile(p.log)
	return fmt.Errorf("nobody listens on %s: %s", addr, bytes.TrimSpace(out))
}

// generate puts one load on a proxy.
func (b *bench) generate(ctx context.Context, p *pair, l Load) (load.Result, error) {
	metrics := p.metrics
	if l.Rate > 0 {
		metrics = "" // to ask takes a moment, which at a fixed rate requests would wait for
	}
	cmd := exec.CommandContext(ctx, b.Self, "pin", generatorCore, b.Self, "load", "-metrics", metrics,
		"-protocol", string(l.Protocol), "-addr", p.addr, "-size", strconv.Itoa(payload), "-connections", strconv.Itoa(l.Connections), "-flight", strconv.Itoa(l.Flight),
		"-rate", fmt.Sprint(l.Rate), "-warm", warm.String(), "-window", b.window(l).String(), "-pid", strconv.Itoa(p.pid()), fmt.Sprintf("-urgent=%v", l.Rate > 0), "-certs", b.dir)
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		return load.Result{}, fmt.Errorf("generate load: %w", err)
	}
	var r load.Result
	if err := json.Unmarshal(out, &r); err != nil {
		return load.Result{}, fmt.Errorf("read the generator's result %q: %w", out, err)
	}
	return r, nil
}
