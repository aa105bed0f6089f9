// Command axle-sidecar is the data plane of one pod, or of one host without Kubernetes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/app"
	"github.com/axlemesh/axle/sidecar/slot"
	"github.com/axlemesh/axle/sidecar/static"
	"github.com/axlemesh/axle/sidecar/supervisor"
)

// build names this binary; the linker sets it.
var build = "dev"

const usage = `usage: axle-sidecar COMMAND [FLAGS]

  run -f FILE               serve what the bootstrap FILE says; without -f, what the environment says (` + bootstrap.Env + `)
  run -f FILE --takeover    take over from the process that serves now, with its connections; that one then exits 0
  upgrade -f FILE           the same, for people: start the new binary so
  slot                      the same in one of a pod's two slots, which take turns
  slot-ready                return when this slot serves, waits or idles; after 5 s at the latest, and always 0
  supervise                 run the sidecar as a child: PID 1 of its container
  check -f FILE             report every mistake of a bootstrap file
  version                   print what this binary is

A standalone takeover needs handover.keyFile in both bootstraps: the serving process writes its generation there, and
the new one its own and a key made for this once. A generation in FILE that is not above the serving one is raised.

SIGTERM lets clients finish for the grace period; a second one, or SIGINT, ends at once.
`

func main() {
	code, err := command(os.Args[1:], os.Stdout)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "axle-sidecar:", err)
	}
	os.Exit(code)
}

// flags of all commands.
type flags struct {
	file                          string
	takeover, supervised, profile bool
	verbosity                     int
}

func command(args []string, out io.Writer) (int, error) {
	name := "help"
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	var f flags
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.StringVar(&f.file, "f", "", "bootstrap file")
	fs.BoolVar(&f.takeover, "takeover", name == "upgrade", "take over from the serving process")
	fs.BoolVar(&f.supervised, "supervised", false, "descriptor 3 is the supervisor's")
	fs.BoolVar(&f.profile, "profile", false, "serve profiles on the admin address")
	fs.IntVar(&f.verbosity, "v", 0, "log verbosity: 0 or 1")
	fs.SetOutput(io.Discard) // the error is returned, and main prints it
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		_, err := fmt.Fprint(out, usage)
		return 0, err
	} else if err != nil {
		return 2, fmt.Errorf("%s: %w", name, err)
	}
	switch name {
	case "run", "upgrade":
		return run(f)
	case "supervise":
		return supervise(f)
	case "slot":
		return inSlot(f)
	case "slot-ready":
		return slotReady(f)
	case "check":
		return check(f, out)
	case "version":
		_, _ = fmt.Fprintln(out, build)
		return 0, nil
	case "help", "-h", "--help":
		_, _ = fmt.Fprint(out, usage)
		return 0, nil
	}
	return 2, fmt.Errorf("unknown command %q\n%s", name, usage)
}

// loaded is load, checked.
func loaded(file string) (bootstrap.Bootstrap, error) {
	b, err := load(file)
	if err != nil {
		return b, err
	}
	return b, static.Check(&b)
}

// load reads the bootstrap from the file, or from the environment without one.
func load(file string) (bootstrap.Bootstrap, error) {
	var b *bootstrap.Bootstrap
	var err error
	if file == "" {
		value := os.Getenv(bootstrap.Env)
		if value == "" {
			return bootstrap.Bootstrap{}, fmt.Errorf("say where the bootstrap is: -f FILE, or %s in the environment", bootstrap.Env)
		}
		b, err = static.ParseEnv(value)
	} else {
		var data []byte
		if data, err = os.ReadFile(file); err == nil {
			b, err = static.Parse(file, data)
		}
	}
	if err != nil {
		return bootstrap.Bootstrap{}, err
	}
	return b.Defaulted(runtime.NumCPU()), nil
}

func check(f flags, out io.Writer) (int, error) {
	b, err := loaded(f.file)
	if b.Static != nil {
		_, wrong := static.Snapshot(b.Static)
		err = errors.Join(err, wrong)
	}
	if err != nil {
		return 1, err
	}
	_, _ = fmt.Fprintln(out, "ok")
	return 0, nil
}

func run(f flags) (int, error) {
	b, err := loaded(f.file)
	if err != nil {
		return supervisor.ExitConfig, err
	}
	limit(b)
	log, level := logger(f.verbosity)
	start := time.Now()
	o := app.Options{
		Bootstrap: b, JoinToken: os.Getenv(bootstrap.JoinTokenEnv), Takeover: f.takeover, Build: build, Level: level, Profile: f.profile,
		Stdout: os.Stdout, Now: time.Now, Clock: func() time.Duration { return time.Since(start) }, Random: rand.Float64,
		Log: log,
	}
	term := make(chan time.Duration, 2)
	leave := make(chan struct{}, 1)
	o.Term, o.Unserved = term, leave
	o.Restarts, _ = strconv.ParseInt(os.Getenv(supervisor.RestartsEnv), 10, 64) // 0 without a supervisor
	if f.supervised {
		if o.Supervisor, o.Kept, err = supervisor.Attach(supervisor.ChildFD, time.Now); err != nil {
			return 1, err
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go signals(time.Duration(b.TerminationGraceSeconds)*time.Second, term)
	if o.Supervisor != nil {
		go func() {
			cancel(o.Supervisor.Watch(func(grace time.Duration) { term <- grace }, func() { leave <- struct{}{} }))
		}()
	}
	end, err := app.Run(ctx, o)
	return end.Code, err
}

// signals asks to end: with grace first, then at once.
func signals(grace time.Duration, term chan<- time.Duration) {
	got := make(chan os.Signal, 2)
	signal.Notify(got, syscall.SIGTERM, syscall.SIGINT)
	for s := range got {
		if s == syscall.SIGINT {
			grace = 0
		}
		term <- grace
		grace = 0
	}
}

func supervise(f flags) (int, error) {
	runtime.GOMAXPROCS(1)
	runtime.LockOSThread() // the child dies with the thread that started it
	b, err := loaded(f.file)
	if err != nil {
		return supervisor.ExitConfig, err
	}
	self, err := os.Executable()
	if err != nil {
		return supervisor.ExitConfig, err
	}
	log, _ := logger(f.verbosity)
	args := []string{self, "run", "--supervised", "-v", strconv.Itoa(f.verbosity)}
	if f.file != "" {
		args = append(args, "-f", f.file)
	}
	return supervisor.Run(context.Background(), supervisor.Config{
		Args: args, Env: childEnv(b), Grace: time.Duration(b.TerminationGraceSeconds) * time.Second,
		Now: time.Now, Log: log.WithName("supervisor"),
	})
}

// inSlot is PID 1 of a slot.
func inSlot(f flags) (int, error) {
	runtime.GOMAXPROCS(1)
	b, err := load(f.file)
	if err == nil {
		err = static.CheckSlot(&b)
	}
	if err != nil {
		return supervisor.ExitConfig, err
	}
	self, err := os.Executable()
	if err != nil {
		return supervisor.ExitConfig, err
	}
	log, _ := logger(f.verbosity)
	return slot.Run(context.Background(), slot.Config{
		Bootstrap: b, Args: []string{self, "run", "--supervised", "-v", strconv.Itoa(f.verbosity)}, Env: childEnv(b),
		Now: time.Now, Log: log.WithName("slot").WithValues("slot", b.Slot.Name),
	})
}

// slotReady never fails: nothing that it finds is a reason to keep a pod from starting.
func slotReady(f flags) (int, error) {
	b, err := load(f.file)
	if err == nil {
		err = static.CheckSlot(&b)
	}
	if err == nil {
		err = slot.Ready(slot.Dir(b.Slot.Dir), b.Slot.Name, time.Now)
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "axle-sidecar: it is not known whether this slot is ready:", err)
	}
	return 0, nil
}

// childEnv is the environment with the runtime's limits for the proxy.
func childEnv(b bootstrap.Bootstrap) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "GOMAXPROCS=") || b.Slot != nil && strings.HasPrefix(kv, bootstrap.Env+"=") || b.MemoryLimitBytes > 0 && strings.HasPrefix(kv, "GOMEMLIMIT=")
	})
	env = append(env, "GOMAXPROCS="+strconv.Itoa(b.Loops+1))
	if b.MemoryLimitBytes > 0 {
		env = append(env, "GOMEMLIMIT="+strconv.FormatInt(b.MemoryLimitBytes, 10))
	}
	return env
}

// limit sets what the environment does not: one P for each loop and one for the rest.
func limit(b bootstrap.Bootstrap) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(b.Loops + 1)
	}
	if os.Getenv("GOMEMLIMIT") == "" && b.MemoryLimitBytes > 0 {
		debug.SetMemoryLimit(b.MemoryLimitBytes)
	}
}

// logger writes JSON to standard error. logr's level n is zap's -n.
func logger(verbosity int) (logr.Logger, func(int)) {
	level := zap.NewAtomicLevelAt(zapcore.Level(-verbosity))
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	enc.EncodeDuration = zapcore.StringDurationEncoder
	core := zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.Lock(os.Stderr), level)
	return zapr.NewLogger(zap.New(core)), func(n int) { level.SetLevel(zapcore.Level(-n)) }
}
