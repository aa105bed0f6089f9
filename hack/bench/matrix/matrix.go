// Package matrix runs every proxy on the same loads, in turn, several times, and compares what they cost.
//
// The proxy has one core, the generator and the server share the other. Ratios are made within one repetition, so that
// a change of the machine's mood between repetitions does not count, and their median is reported.
package matrix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/axlemesh/axle/hack/bench/load"
	"github.com/axlemesh/axle/hack/bench/proc"
)

// Config of a whole bench.
type Config struct {
	// Self is the program that has the subcommands pin, echo and load.
	Self string
	// Sidecar is the binary to measure; it is built from Source when empty.
	Sidecar, Source string
	Repetitions     int
	// Window is the measured time of a run; at full load the best of Tries runs counts.
	Window time.Duration
	Tries  int
	// Quiet bounds the wait for other work on the machine to end.
	Quiet time.Duration
	// Only is the protocol to measure; both when empty.
	Only string
	// Rate of the open loop.
	Rate float64
	// CSV is the file for the single results.
	CSV string
	Out io.Writer
	Now func() time.Time
}

// Load is one way of asking.
type Load struct {
	Name                string
	Protocol            load.Protocol
	Connections, Flight int
	Rate                float64
}

// The names of the loads and of the proxies that the summary needs.
const (
	wide, mux, low    = "64x1", "4x32", "open"
	webWide, webLow   = "http-64x1", "http-open"
	direct, relay     = "direct", "c-relay"
	axle              = "axle"
	nginx, reverseOne = "nginx", "reverse"
)

// payload in bytes, both ways.
const payload = 1024

// loads are what a proxy of that protocol is asked.
func (c Config) loads(p load.Protocol) []Load {
	if p == load.HTTP {
		return []Load{
			{webLow, p, 16, 1, c.Rate},
			{webWide, p, 64, 1, 0},
		}
	}
	return []Load{
		{low, p, 4, 1024, c.Rate},
		{wide, p, 64, 1, 0},
		{mux, p, 4, 32, 0},
	}
}

// Row is one result.
type Row struct {
	Repetition int
	Proxy      string
	Load       string
	load.Result
	// ResidentKB is the proxy's memory after the run.
	ResidentKB int64
	// Allocations of the proxy for one request, where it tells; -1 where not.
	Allocations float64
}

// Run measures everything and returns the summary; the single results are in the CSV file.
func Run(ctx context.Context, cfg Config) (Summary, error) {
	if runtime.NumCPU() < 2 {
		return Summary{}, errors.New("this needs two cores: one for the proxy, one for the generator and the server")
	}
	dir, err := os.MkdirTemp("", "axle-bench-")
	if err != nil {
		return Summary{}, fmt.Errorf("folder for programs and logs: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is a temporary folder
	b := &bench{Config: cfg, dir: dir}
	proxies, err := b.proxies(ctx)
	if err != nil {
		return Summary{}, err
	}
	fmt.Fprintf(cfg.Out, "%d repetitions of %d proxies, one core each for the proxy and for generator and server\n", cfg.Repetitions, len(proxies))
	var rows []Row
	for r := 1; r <= cfg.Repetitions; r++ {
		for _, p := range proxies {
			got, err := b.measure(ctx, r, p)
			if err != nil {
				return Summary{}, fmt.Errorf("repetition %d, %s: %w", r, p.name, err)
			}
			rows = append(rows, got...)
		}
	}
	if err := writeCSV(cfg.CSV, rows); err != nil {
		return Summary{}, err
	}
	if err := Table(cfg.Out, rows); err != nil {
		return Summary{}, err
	}
	summary, err := Summarize(rows)
	if err == nil && cfg.Only != "" {
		summary.Figures = slices.DeleteFunc(summary.Figures, func(f Figure) bool {
			return strings.HasPrefix(f.Name, "http_") != (cfg.Only == string(load.HTTP))
		})
	}
	return summary, err
}

type bench struct {
	Config
	dir  string
	told bool // that there is no real-time priority here
}

// measure starts a fresh proxy and puts every load on it.
func (b *bench) measure(ctx context.Context, repetition int, p proxy) ([]Row, error) {
	echo, err := b.start(ctx, generatorCore, "echo.log", b.Self, "echo", "-protocol", string(p.protocol), "-addr", serverAddr, "-size", fmt.Sprint(payload))
	if err != nil {
		return nil, err
	}
	defer echo.stop()
	if err := b.listening(ctx, serverAddr, echo); err != nil {
		return nil, err
	}
	pid := 0
	if p.cmd != nil {
		px, err := b.start(ctx, proxyCore, p.name+".log", p.cmd...)
		if err != nil {
			return nil, err
		}
		defer px.stop()
		if err := b.listening(ctx, p.addr, px); err != nil {
			return nil, err
		}
		pid = px.pid()
	}
	var rows []Row
	for _, l := range b.loads(p.protocol) {
		row, err := b.best(ctx, p, l, pid, echo.pid())
		if err != nil {
			return nil, fmt.Errorf("load %s: %w", l.Name, err)
		}
		row.Repetition = repetition
		rows = append(rows, row)
		fmt.Fprintf(b.Out, "%d/%d  %-8s %-9s %8.0f/s  mean %7.0f us  p50 %7.0f us  CPU %6.2f us/request\n",
			repetition, b.Repetitions, p.name, l.Name, row.RPS, row.MeanUS, row.P50US, row.CPU)
	}
	return rows, nil
}

// best repeats a run at full load and keeps the one with the most requests: it was disturbed least. At low rate everything
// that is measured runs before all other work of the machine, which it can afford: it uses little.
func (b *bench) best(ctx context.Context, p proxy, l Load, pids ...int) (Row, error) {
	tries, pid := b.Tries, pids[0]
	if l.Rate > 0 {
		tries = 1
		for _, id := range pids {
			b.urgent(id, true)
			defer b.urgent(id, false)
		}
	}
	var best Row
	least := -1.0 // allocations: what a first run adds, and a collection of garbage, is not the path of a request
	for range max(tries, 1) {
		if err := b.quiet(ctx); err != nil {
			return Row{}, err
		}
		before, counted := p.ask(ctx)
		r, err := b.generate(ctx, p.addr, l, pid)
		if err != nil {
			return Row{}, err
		}
		row := Row{Proxy: p.name, Load: l.Name, Result: r, ResidentKB: proc.Resident(pid), Allocations: -1}
		if after, ok := p.ask(ctx); ok && counted {
			again, _ := p.ask(ctx) // the difference is what asking costs
			n := r.RPS * (b.window(l) + warm).Seconds()
			row.Allocations = max(2*after.mallocs-before.mallocs-again.mallocs, 0) / n
			if least < 0 || row.Allocations < least {
				least = row.Allocations
			}
			row.Reads, row.Writes = (after.reads-before.reads)/n, (after.writes-before.writes)/n
		}
		if r.RPS > best.RPS {
			best = row
		}
	}
	best.Allocations = least
	return best, nil
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

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }
