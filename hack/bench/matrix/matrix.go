// Package matrix runs every proxy on the same loads, in turn, several times.
//
// The proxy has one core, the generator and the server share the other. Ratios are made within one repetition, so that
// a change of the machine's mood between repetitions does not count; package report makes them.
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

	"github.com/axlemesh/axle/hack/bench/certs"
	"github.com/axlemesh/axle/hack/bench/load"
	"github.com/axlemesh/axle/hack/bench/report"
)

// Config of a whole bench.
type Config struct {
	// Self is the program that has the subcommands pin, echo, load, hold and reverse.
	Self string
	// Sidecar is the binary to measure; it is built from Source when empty.
	Sidecar, Source string
	// Cache is a folder for programs that are installed once.
	Cache       string
	Repetitions int
	// Window is the measured time of a run; at full load the best of Tries runs counts.
	Window time.Duration
	Tries  int
	// Quiet bounds the wait for other work on the machine to end.
	Quiet time.Duration
	// Only are the parts to measure: protocols, Memory and Opinion; all when empty.
	Only []string
	// Rate of the open loop.
	Rate float64
	// Held is how many idle connections memory is measured with, and Crowd beside how many a load is.
	Held, Crowd int
	Out         io.Writer
	Now         func() time.Time
}

// Memory is the part of a bench that measures memory and idle connections.
const Memory = "memory"

// Parts are what Config.Only can name.
func Parts() []string {
	all := []string{Memory, Opinion}
	for _, p := range report.Protocols {
		all = append(all, string(p))
	}
	return all
}

// Validate reports every mistake.
func (c Config) Validate() error {
	var wrong []error
	for _, part := range c.Only {
		if !slices.Contains(Parts(), part) {
			wrong = append(wrong, fmt.Errorf("part %q is none of %s", part, strings.Join(Parts(), ", ")))
		}
	}
	if c.Repetitions < 1 || c.Window <= 0 || c.Rate <= 0 || c.Held < 1 || c.Crowd < 1 {
		wrong = append(wrong, errors.New("repetitions, window, rate and numbers of connections have to be above 0"))
	}
	return errors.Join(wrong...)
}

func (c Config) selected(part string) bool { return len(c.Only) == 0 || slices.Contains(c.Only, part) }

// Load is one way of asking.
type Load struct {
	Name                string
	Protocol            load.Protocol
	Connections, Flight int
	Rate                float64
}

// payload in bytes, both ways.
const payload = 1024

// loads are what a proxy is asked. Without a proxy only latency is of interest.
func (c Config) loads(p proxy) []Load {
	of := func(k report.Kind, connections, flight int, rate float64) Load {
		return Load{report.Name(p.protocol, k), p.protocol, connections, flight, rate}
	}
	var all []Load
	switch p.protocol {
	case load.HTTP, load.TLS:
		all = []Load{of(report.Open, 16, 1, c.Rate), of(report.Wide, 64, 1, 0)}
	case load.HTTP2, load.GRPC:
		all = []Load{of(report.Open, 4, 32, c.Rate), of(report.Mux, 4, 32, 0)}
	default:
		all = []Load{of(report.Open, 4, 1024, c.Rate), of(report.Wide, 64, 1, 0), of(report.Mux, 4, 32, 0)}
	}
	if p.name == report.Direct {
		return all[:1]
	}
	return all
}

// Results of a whole bench.
type Results struct {
	Rows    []report.Row
	Missing report.Missing
	// Broken are loads at which the sidecar failed, though its check had accepted the configuration.
	Broken []error
}

// Run measures everything that is selected and can be had here. With an error it returns the
// repetitions that are complete, or what it has of the first.
func Run(ctx context.Context, cfg Config) (Results, error) {
	if err := cfg.Validate(); err != nil {
		return Results{}, err
	}
	if runtime.NumCPU() < 2 {
		return Results{}, errors.New("this needs two cores: one for the proxy, one for the generator and the server")
	}
	dir, err := os.MkdirTemp("", "axle-bench-")
	if err != nil {
		return Results{}, fmt.Errorf("folder for programs and logs: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is a temporary folder
	if err := certs.Write(dir, load.Host, cfg.Now()); err != nil {
		return Results{}, err
	}
	b := &bench{Config: cfg, dir: dir, missing: report.Missing{}}
	proxies, err := b.proxies(ctx)
	if err != nil {
		return Results{}, err
	}
	for r := 1; r <= cfg.Repetitions && err == nil; r++ {
		complete := len(b.rows)
		if err = b.repetition(ctx, r, proxies); err != nil {
			err = fmt.Errorf("repetition %d: %w", r, err)
			if complete > 0 {
				b.rows = b.rows[:complete]
			}
		}
	}
	if len(b.rows) == 0 {
		err = errors.Join(err, errors.New("nothing was measured"))
	}
	return Results{b.rows, b.missing, b.broken}, err
}

// repetition measures everything once.
func (b *bench) repetition(ctx context.Context, r int, proxies []proxy) error {
	for _, p := range proxies {
		if !b.selected(string(p.protocol)) || b.missing[p.absent()] != "" {
			continue
		}
		if err := b.measure(ctx, r, p); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	if b.selected(Memory) {
		if err := b.memory(ctx, r, proxies); err != nil {
			return err
		}
	}
	if b.selected(Opinion) {
		return b.opinions(ctx, r, proxies)
	}
	return nil
}

type bench struct {
	Config
	dir     string
	rows    []report.Row
	missing report.Missing
	broken  []error
	told    bool // that there is no real-time priority here
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// without records why a proxy is not measured with a protocol, and says it.
func (b *bench) without(name string, p load.Protocol, reason error) {
	text := strings.Join(strings.Fields(reason.Error()), " ")
	b.missing[report.Absent{Proxy: name, Protocol: p}] = text
	fmt.Fprintf(b.Out, "na   %s, %s: %s\n", name, p, text)
}

// add records a result and says it.
func (b *bench) add(row report.Row) {
	b.rows = append(b.rows, row)
	fmt.Fprintf(b.Out, "%d/%d  %-8s %-14s ", row.Repetition, b.Repetitions, row.Proxy, row.Load)
	switch {
	case row.MeanUS > 0:
		fmt.Fprintf(b.Out, "%8.0f/s  mean %7.0f us  p50 %7.0f us  CPU %6.2f us/request", row.RPS, row.MeanUS, row.P50US, row.CPU)
	case row.Requests > 0:
		fmt.Fprintf(b.Out, "%8.0f/s  CPU %6.2f us/request", row.RPS, row.CPU)
	default:
		fmt.Fprintf(b.Out, "%.1f MB anonymous, %.1f MB resident", float64(row.AnonKB)/1024, float64(row.ResidentKB)/1024)
	}
	if row.Conns > 0 {
		fmt.Fprintf(b.Out, "  %d idle connections", row.Conns)
	}
	if row.ConnKB != 0 {
		fmt.Fprintf(b.Out, ", %.1f kB each", row.ConnKB)
	}
	fmt.Fprintln(b.Out)
}
