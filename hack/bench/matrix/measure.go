package matrix

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/axlemesh/axle/hack/bench/proc"
	"github.com/axlemesh/axle/hack/bench/report"
)

// pair is a proxy that runs, with the server behind it.
type pair struct {
	proxy
	process *process // nil for no proxy
	server  *process
}

func (p *pair) pid() int {
	if p.process == nil {
		return 0
	}
	return p.process.pid()
}

func (p *pair) stop() {
	if p.process != nil {
		p.process.stop()
	}
	if p.server != nil {
		p.server.stop()
	}
}

// up starts a fresh server and a fresh proxy. It returns what it has started in any case.
func (b *bench) up(ctx context.Context, p proxy) (*pair, error) {
	running := &pair{proxy: p}
	var err error
	running.server, err = b.start(ctx, generatorCore, "echo.log", b.Self, "echo",
		"-protocol", string(p.protocol), "-addr", serverAddr, "-size", fmt.Sprint(payload), "-certs", b.dir)
	if err != nil {
		return running, err
	}
	if err := b.listening(ctx, serverAddr, running.server); err != nil {
		return running, err
	}
	if p.cmd == nil {
		return running, nil
	}
	if running.process, err = b.start(ctx, proxyCore, p.name+".log", p.cmd...); err != nil {
		return running, err
	}
	return running, b.listening(ctx, p.addr, running.process)
}

// measure starts a fresh proxy and puts every load on it. A proxy that fails is not measured with that protocol any more.
func (b *bench) measure(ctx context.Context, repetition int, p proxy) error {
	running, err := b.up(ctx, p)
	defer running.stop()
	for _, l := range b.loads(p) {
		var row report.Row
		if err == nil {
			row, err = b.best(ctx, running, l)
		}
		if err != nil {
			return b.failed(ctx, running, fmt.Errorf("load %s: %w", l.Name, err))
		}
		row.Repetition = repetition
		b.add(row)
	}
	return nil
}

// failed decides whether the bench can go on without a proxy.
func (b *bench) failed(ctx context.Context, p *pair, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if p.process == nil {
		return err
	}
	for _, of := range []*process{p.process, p.server} {
		if said := of.said(); said != "" {
			err = fmt.Errorf("%w; log: %s", err, said)
		}
	}
	if p.name == report.Axle {
		b.broken = append(b.broken, fmt.Errorf("%s: %w", p.proxy, err))
	}
	b.without(p.name, p.protocol, err)
	return nil
}

// best repeats a run at full load and keeps the one with the most requests: it was disturbed least. At low rate everything
// that is measured runs before all other work of the machine, which it can afford: it uses little.
func (b *bench) best(ctx context.Context, p *pair, l Load) (report.Row, error) {
	tries := b.Tries
	if l.Rate > 0 {
		tries = 1
		for _, id := range []int{p.pid(), p.server.pid()} {
			b.urgent(id, true)
			defer b.urgent(id, false)
		}
	}
	var best report.Row
	least := -1.0 // allocations: what a first run adds, and a collection of garbage, are not the path of a request
	for range max(tries, 1) {
		if err := b.quiet(ctx); err != nil {
			return report.Row{}, err
		}
		row, err := b.once(ctx, p, l)
		if err != nil {
			return report.Row{}, err
		}
		if row.Allocations >= 0 && (least < 0 || row.Allocations < least) {
			least = row.Allocations
		}
		if row.RPS > best.RPS {
			best = row
		}
	}
	best.Allocations = least
	return best, nil
}

// once is one run.
func (b *bench) once(ctx context.Context, p *pair, l Load) (report.Row, error) {
	r, err := b.generate(ctx, p, l)
	if err != nil {
		return report.Row{}, err
	}
	m := proc.MemoryOf(p.pid())
	return report.Row{Proxy: p.name, Load: l.Name, Result: r, AnonKB: m.Anon, ResidentKB: m.Resident}, nil
}

// window is the measured time of a run. Means of latencies need more requests than medians.
func (b *bench) window(l Load) time.Duration {
	if l.Rate > 0 {
		return 2 * b.Window
	}
	return b.Window
}

// urgent makes a process real-time or ordinary again. Where that is not allowed, latencies are a little less exact.
func (b *bench) urgent(pid int, on bool) {
	if pid == 0 {
		return
	}
	if err := proc.RealTime(pid, on); err != nil && !b.told {
		b.told = true
		fmt.Fprintf(b.Out, "without real-time priority: %v\n", err)
	}
}

// quiet waits until little else wants to run, for at most the time that the configuration gives.
func (b *bench) quiet(ctx context.Context) error {
	for end := b.Now().Add(b.Quiet); b.Now().Before(end); {
		var sum int64
		for range 10 {
			n, err := proc.Runnable()
			if err != nil {
				return err
			}
			sum += n - 1
			if !wait(ctx, 10*time.Millisecond) {
				return ctx.Err()
			}
		}
		if sum <= 5 {
			return nil
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// said is the end of what a process has written.
func (p *process) said() string {
	if p == nil {
		return ""
	}
	out, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	return string(out[max(0, len(out)-logTail):])
}

// logTail is how much of a log an error quotes.
const logTail = 500
