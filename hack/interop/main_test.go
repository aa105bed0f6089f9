//go:build interop

package interop

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/axlemesh/axle/hack/interop/setup"
)

// sidecarProgram is the sidecar of this tree, or the one that INTEROP_SIDECAR names.
var sidecarProgram string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "axle-interop-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := machine().Programs(ctx); err != nil {
		return 1, err
	}
	if sidecarProgram = os.Getenv("INTEROP_SIDECAR"); sidecarProgram == "" {
		if sidecarProgram, err = machine().Sidecar(ctx, dir); err != nil {
			return 1, err
		}
	}
	return m.Run(), nil
}

func machine() setup.Machine {
	return setup.Machine{Source: ".", Out: os.Stderr, Clock: clock.RealClock{}}
}

// made is what is made once, when the first test needs it.
func made(make func(context.Context) (string, error)) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		return make(ctx)
	})
}

var (
	nodeModules = made(machine().Node)
	sofarpcJars = made(func(ctx context.Context) (string, error) { return machine().Java(ctx, "sofarpc") })
)

// node starts one of our programs for Node.js.
func node(t *testing.T, script string, args ...string) *process {
	t.Helper()
	modules, err := nodeModules()
	if err != nil {
		t.Fatal(err)
	}
	return launch(t, []string{"NODE_PATH=" + modules}, "node", append([]string{"node/" + script}, args...)...)
}

// java starts one of our programs for Java. What the libraries log goes to a home of its own.
func java(t *testing.T, jars func() (string, error), class string, args ...string) *process {
	t.Helper()
	return javaWith(t, jars, nil, class, args...)
}

// javaWith does it with options of the virtual machine.
func javaWith(t *testing.T, jars func() (string, error), options []string, class string, args ...string) *process {
	t.Helper()
	path, err := jars()
	if err != nil {
		t.Fatal(err)
	}
	all := append([]string{
		"-Xmx256m", "-XX:TieredStopAtLevel=1", "-Duser.home=" + t.TempDir(), "--add-opens=java.base/java.lang=ALL-UNNAMED",
		"-Dbolt.tcp.heartbeat.interval=1000", "-cp", path,
	}, options...) // the last of several counts
	return launch(t, nil, "java", append(append(all, "axle.interop."+class), args...)...)
}
