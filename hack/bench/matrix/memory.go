package matrix

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/axlemesh/axle/hack/bench/load"
	"github.com/axlemesh/axle/hack/bench/proc"
	"github.com/axlemesh/axle/hack/bench/report"
)

// settle is how long a proxy rests before its memory is read, and holding how long connections may be held.
const (
	settle  = time.Second
	holding = 2 * time.Minute
)

// spare is how many descriptors a process needs besides those of idle connections, which a sidecar that has four fifths of
// its descriptors in use begins to close.
const (
	spare = 300
	calm  = 0.8
)

// memory measures idle proxies, idle connections, and a load beside many of them. Of the peers it is asked once: it does not
// change from repetition to repetition.
func (b *bench) memory(ctx context.Context, repetition int, proxies []proxy) error {
	for _, p := range proxies {
		idles := p.protocol == load.HTTP || p.protocol == load.TLS
		if !idles || p.cmd == nil || p.name == report.Reverse || b.missing[p.absent()] != "" {
			continue
		}
		if repetition > 1 && p.name != report.Axle {
			continue
		}
		if err := b.idle(ctx, repetition, p); err != nil {
			return err
		}
	}
	return nil
}

// idle measures one proxy: without a connection, with idle ones, and, when it is the sidecar, at load beside a crowd.
func (b *bench) idle(ctx context.Context, repetition int, p proxy) error {
	if p.protocol == load.HTTP {
		first := p
		if p.supervised != nil {
			first.cmd = p.supervised
		}
		if err := b.with(ctx, first, func(running *pair) error { return b.alone(ctx, repetition, running) }); err != nil {
			return err
		}
	}
	return b.with(ctx, p, func(running *pair) error {
		err := b.held(ctx, repetition, running)
		if err == nil && p.protocol == load.HTTP && p.name == report.Axle {
			err = b.crowded(ctx, repetition, running)
		}
		return err
	})
}

// with runs a fresh proxy for as long as do takes.
func (b *bench) with(ctx context.Context, p proxy, do func(*pair) error) error {
	if b.missing[p.absent()] != "" {
		return nil
	}
	running, err := b.up(ctx, p)
	defer running.stop()
	if err == nil {
		err = do(running)
	}
	if err != nil {
		return b.failed(ctx, running, fmt.Errorf("idle connections: %w", err))
	}
	return nil
}

// alone is the memory of a proxy without a connection, and of its supervisor.
func (b *bench) alone(ctx context.Context, repetition int, p *pair) error {
	if !wait(ctx, settle) {
		return ctx.Err()
	}
	m := proc.MemoryOf(p.pid())
	b.add(report.Row{
		Repetition: repetition, Proxy: p.name, Load: report.Name(Memory, report.Idle),
		AnonKB: m.Anon, ResidentKB: m.Resident,
	})
	return nil
}

// held is memory for idle connections.
func (b *bench) held(ctx context.Context, repetition int, p *pair) error {
	if !wait(ctx, settle) {
		return ctx.Err()
	}
	before := proc.MemoryOf(p.pid())
	h, err := b.hold(ctx, p, b.Held)
	if err != nil {
		return err
	}
	defer h.end()
	if !wait(ctx, settle) {
		return ctx.Err()
	}
	after := proc.MemoryOf(p.pid())
	if err := h.alive(); err != nil {
		return err
	}
	b.add(report.Row{
		Repetition: repetition, Proxy: p.name, Load: report.Name(p.protocol, report.Held), AnonKB: after.Anon, ResidentKB: after.Resident,
		ConnKB: float64(after.Anon-before.Anon) / float64(b.Held), Conns: int64(b.Held),
	})
	return nil
}

// crowded is the load of 64 connections without and with a crowd of idle ones, on one process.
func (b *bench) crowded(ctx context.Context, repetition int, p *pair) error {
	limits, err := proc.ReadLimits()
	if err != nil {
		return err
	}
	n, note := crowd(b.Crowd, limits)
	if note != "" && repetition == 1 {
		fmt.Fprintln(b.Out, note)
	}
	if n == 0 {
		b.missing[report.Absent{Proxy: p.name, Load: report.Name(p.protocol, report.Crowded)}] = note
		return nil
	}
	l := Load{report.Name(p.protocol, report.Alone), p.protocol, 64, 1, 0}
	alone, err := b.best(ctx, p, l)
	if err != nil {
		return err
	}
	h, err := b.hold(ctx, p, n)
	if err != nil {
		return err
	}
	defer h.end()
	l.Name = report.Name(p.protocol, report.Crowded)
	beside, err := b.best(ctx, p, l)
	if err != nil {
		return err
	}
	if err := h.alive(); err != nil {
		return err
	}
	alone.Repetition, beside.Repetition, beside.Conns = repetition, repetition, int64(n)
	b.add(alone)
	b.add(beside)
	return nil
}

// crowd is how many idle connections can be had here of those that are wanted, 0 when they are too few to say anything, and
// what has to be said about it.
func crowd(wanted int, l proc.Limits) (n int, note string) {
	const enough = 0.75
	switch {
	case l.Files < int64(4*wanted):
		return 0, fmt.Sprintf("fs.file-max is %d, and %d connections have four ends", l.Files, wanted)
	case l.Ports < load.PerSource+spare:
		return 0, fmt.Sprintf("net.ipv4.ip_local_port_range has %d ports, and each local address needs %d", l.Ports, load.PerSource)
	}
	n = min(wanted, int(calm*float64(l.Descriptors))-spare)
	if float64(n) < enough*float64(wanted) {
		return 0, fmt.Sprintf("a process may have %d descriptors (ulimit -Hn), and %d connections need %d", l.Descriptors, wanted, int(float64(wanted+spare)/calm))
	}
	if n < wanted {
		note = fmt.Sprintf("%d idle connections instead of %d: a process may have %d descriptors (ulimit -Hn)", n, wanted, l.Descriptors)
	}
	return n, note
}

// holder is the process that has idle connections.
type holder struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	in     io.WriteCloser
	out    *bufio.Reader
	n      int
}

// hold opens idle connections and returns when all are open.
func (b *bench) hold(ctx context.Context, p *pair, n int) (*holder, error) {
	ctx, cancel := context.WithTimeout(ctx, holding)
	cmd := exec.CommandContext(ctx, b.Self, "pin", generatorCore, b.Self, "hold", "-protocol", string(p.protocol), "-addr", p.addr,
		"-size", strconv.Itoa(payload), "-connections", strconv.Itoa(n), "-certs", b.dir)
	log, err := os.Create(b.path("hold.log"))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("log of idle connections: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd.Stderr = log
	h := &holder{cmd: cmd, cancel: cancel, n: n}
	if h.in, err = cmd.StdinPipe(); err == nil {
		var out io.Reader
		if out, err = cmd.StdoutPipe(); err == nil {
			h.out = bufio.NewReader(out)
			err = cmd.Start()
		}
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("hold idle connections: %w", err)
	}
	if got, err := h.count(); err != nil || got != n {
		h.end()
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("hold %d idle connections: %d, %w: %s", n, got, errors.Join(err, errShort), strings.TrimSpace(string(said)))
	}
	return h, nil
}

var errShort = errors.New("they were not all opened")

// count reads the next number that the holder says.
func (h *holder) count() (int, error) {
	line, err := h.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

// alive fails when connections were closed meanwhile.
func (h *holder) alive() error {
	if _, err := io.WriteString(h.in, "\n"); err != nil {
		return fmt.Errorf("count idle connections: %w", err)
	}
	n, err := h.count()
	if err == nil && n != h.n {
		err = fmt.Errorf("%d of %d are still open", n, h.n)
	}
	if err != nil {
		return fmt.Errorf("count idle connections: %w", err)
	}
	return nil
}

func (h *holder) end() {
	_ = h.in.Close() // that ends it
	_ = h.cmd.Wait() // how it ends does not matter
	h.cancel()
}
