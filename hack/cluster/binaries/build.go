package binaries

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"

	"k8s.io/utils/clock"

	"github.com/axlemesh/axle/hack/cluster/progress"
)

// SourcePackage is the import path of this package: its folder holds the modules.
const SourcePackage = "github.com/axlemesh/axle/hack/cluster/binaries"

// Builder builds programs into a cache. The zero value uses the user's cache
// folder, finds the modules by `go list`, and prints nothing.
type Builder struct {
	// Cache is the folder of the cache. Default: $XDG_CACHE_HOME/axle/bin, else ~/.cache/axle/bin.
	Cache string
	// Source is the folder that holds the modules. Default: asked of the go command,
	// which has to be run inside the product's module.
	Source string
	// Out receives a line for every step, and one every ten seconds while a build lasts.
	Out io.Writer
	// Clock paces those lines. Default: the real one.
	Clock clock.WithTicker
}

// Paths maps a program's name to the file built for it.
type Paths map[string]string

// Build makes the programs that the cache lacks and returns where all of them are.
func (b Builder) Build(ctx context.Context, programs ...string) (Paths, error) {
	if err := b.complete(ctx); err != nil {
		return nil, err
	}
	todo, err := batches(programs)
	if err != nil {
		return nil, err
	}
	paths := Paths{}
	for _, t := range todo {
		dir, err := b.folder(t.module)
		if err != nil {
			return nil, err
		}
		if err := b.ensure(ctx, t, dir); err != nil {
			return nil, err
		}
		for _, name := range t.programs {
			paths[name] = filepath.Join(dir, name)
		}
	}
	return paths, nil
}

// Folder makes one folder with links to the programs, as envtest wants them
// (KUBEBUILDER_ASSETS) and as a PATH entry needs them, and returns it.
func (b Builder) Folder(ctx context.Context, name string, programs ...string) (string, error) {
	paths, err := b.Build(ctx, programs...)
	if err != nil {
		return "", err
	}
	if err := b.complete(ctx); err != nil {
		return "", err
	}
	dir := filepath.Join(b.Cache, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder of programs: %w", err)
	}
	for program, path := range paths {
		link := filepath.Join(dir, program)
		if have, err := os.Readlink(link); err == nil && have == path {
			continue
		}
		fresh := fmt.Sprintf("%s.%d", link, os.Getpid())
		if err := errors.Join(os.Symlink(path, fresh), os.Rename(fresh, link)); err != nil {
			return "", fmt.Errorf("link %s: %w", program, err)
		}
	}
	return dir, nil
}

func (b *Builder) complete(ctx context.Context) error {
	if b.Out == nil {
		b.Out = io.Discard
	}
	if b.Clock == nil {
		b.Clock = clock.RealClock{}
	}
	if b.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("find the cache folder: %w", err)
		}
		b.Cache = filepath.Join(dir, "axle", "bin")
	}
	if b.Source == "" {
		out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", SourcePackage).Output()
		if err != nil {
			return fmt.Errorf("find the folder of %s (run this inside the axle module): %w", SourcePackage, withStderr(err))
		}
		b.Source = strings.TrimSpace(string(out))
	}
	return nil
}

// folder names the cache folder of a module: its version, and a digest of all
// else that changes what is built.
func (b *Builder) folder(m Module) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOOS, runtime.GOARCH, m.Tags, m.ldflags())
	dir := filepath.Join(b.Source, m.Dir)
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if name == "main.go" && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read module %s: %w", m.Dir, err)
		}
		sum.Write(data)
	}
	return filepath.Join(b.Cache, fmt.Sprintf("%s-%s-%s", m.Dir, m.Version, hex.EncodeToString(sum.Sum(nil))[:8])), nil
}

// ensure builds what is missing of one batch while it holds the folder's lock.
func (b *Builder) ensure(ctx context.Context, t batch, dir string) error {
	missing := absent(dir, t.programs)
	if len(missing) == 0 {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the cache of %s: %w", t.module.Dir, err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("lock the cache of %s: %w", t.module.Dir, err)
	}
	defer lock.Close()
	what := fmt.Sprintf("%s %s (%s)", t.module.Dir, t.module.Version, strings.Join(missing, ", "))
	var count packageCounter
	return progress.Step(b.Out, b.Clock, "build "+what, count.note, func() error {
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			return fmt.Errorf("lock the cache of %s: %w", t.module.Dir, err)
		}
		missing = absent(dir, t.programs) // another process may have built them meanwhile
		if len(missing) == 0 {
			return nil
		}
		return b.compile(ctx, batch{t.module, missing}, dir, &count)
	})
}

// compile runs the go command into a scratch folder and moves complete programs
// into dir, so that an interrupted build leaves nothing that looks finished.
func (b *Builder) compile(ctx context.Context, t batch, dir string, count *packageCounter) error {
	scratch, err := os.MkdirTemp(dir, ".build-")
	if err != nil {
		return fmt.Errorf("build %s: %w", t.module.Dir, err)
	}
	defer os.RemoveAll(scratch)
	args := []string{"build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", t.module.ldflags()}
	if t.module.Tags != "" {
		args = append(args, "-tags", t.module.Tags)
	}
	// One program is named after its file; go build names several by their import path.
	if len(t.programs) == 1 {
		args = append(args, "-o", filepath.Join(scratch, t.programs[0]))
	} else {
		args = append(args, "-o", scratch+"/")
	}
	for _, name := range t.programs {
		args = append(args, t.module.Programs[name])
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(b.Source, t.module.Dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	cmd.Stderr = count
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", t.module.Dir, err, count.tail())
	}
	for _, name := range t.programs {
		if err := os.Rename(filepath.Join(scratch, name), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
	}
	return nil
}

func absent(dir string, programs []string) []string {
	var out []string
	for _, name := range programs {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			out = append(out, name)
		}
	}
	return out
}

// packageCounter reads `go build -v`: a line for each package compiled, and the
// compiler's messages. It keeps the last few KiB for the error.
type packageCounter struct {
	lines atomic.Int64
	last  []byte // only the command's copying goroutine touches it until Run returns
}

func (c *packageCounter) Write(p []byte) (int, error) {
	c.lines.Add(int64(bytes.Count(p, []byte("\n"))))
	c.last = append(c.last, p...)
	if over := len(c.last) - 4096; over > 0 {
		c.last = append(c.last[:0], c.last[over:]...)
	}
	return len(p), nil
}

func (c *packageCounter) note() string {
	return fmt.Sprintf("%d packages compiled", c.lines.Load())
}

func (c *packageCounter) tail() string { return strings.TrimSpace(string(c.last)) }

func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
