// Package setup prepares a machine for the interop tests: it installs programs of Debian, the packages of Node.js and the
// jars of Java, whose versions are pinned beside this folder, and builds the sidecar.
package setup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"k8s.io/utils/clock"

	"github.com/axlemesh/axle/hack/cluster/progress"
	"github.com/axlemesh/axle/hack/debian"
)

// Machine is where the tests run.
type Machine struct {
	// Source is the folder of the interop tests.
	Source string
	// Cache is where things are kept that take long. Default: interop below the user's cache folder for axle.
	Cache string
	// Out hears of steps that take long.
	Out io.Writer
	// Clock paces what it hears.
	Clock clock.WithTicker
}

// programs are Debian's. Most machines have some.
func programs() []debian.Program {
	return []debian.Program{
		{Package: "openjdk-17-jdk-headless", Paths: []string{"javac"}},
		{Package: "maven", Paths: []string{"mvn"}},
		{Package: "nodejs", Paths: []string{"node"}},
		{Package: "npm", Paths: []string{"npm"}},
		{Package: "curl", Paths: []string{"curl"}},
		{Package: "wrk", Paths: []string{"wrk"}},
		{Package: "nghttp2-client", Paths: []string{"h2load"}},
		{Package: "nghttp2-server", Paths: []string{"nghttpd"}},
	}
}

// Programs installs what the distribution has.
func (m Machine) Programs(ctx context.Context) error {
	return debian.Require(ctx, m.Out, m.Clock, programs())
}

// Node returns the folder of the packages of Node.js: NODE_PATH.
func (m Machine) Node(ctx context.Context) (string, error) {
	source := filepath.Join(m.Source, "node")
	dir, err := m.kept(ctx, "npm ci", "node", source, []string{"package.json", "package-lock.json", ".npmrc"},
		func(scratch string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-progress")
			cmd.Dir = scratch
			return cmd
		})
	return filepath.Join(dir, "node_modules"), err
}

// Java compiles the module of that name, with the ledger that all modules share, and returns its class path.
func (m Machine) Java(ctx context.Context, name string) (string, error) {
	source := filepath.Join(m.Source, "java")
	files := []string{name + "/pom.xml"}
	for _, folder := range []string{name + "/src", "ledger"} {
		java, err := filepath.Glob(filepath.Join(source, folder, "axle/interop/*.java"))
		if err != nil {
			return "", fmt.Errorf("find the Java files of %s: %w", folder, err)
		}
		for _, path := range java {
			files = append(files, strings.TrimPrefix(path, source+"/"))
		}
	}
	dir, err := m.kept(ctx, "mvn compile", "java-"+name, source, files, func(scratch string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "mvn", "--batch-mode", "--quiet", "-Dtarget="+scratch+"/target", "compile")
		cmd.Dir = filepath.Join(scratch, name)
		return cmd
	})
	return filepath.Join(dir, "target", "classes") + ":" + filepath.Join(dir, "target", "lib", "*"), err
}

// Sidecar builds the sidecar of this tree into dir and returns its path.
func (m Machine) Sidecar(ctx context.Context, dir string) (string, error) {
	return m.Go(ctx, dir, "axle-sidecar", "github.com/axlemesh/axle/sidecar")
}

// Go builds a program of this module, or of one that it requires, into dir and returns its path.
func (m Machine) Go(ctx context.Context, dir, name, pkg string) (string, error) {
	path := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, pkg)
	cmd.Dir = m.Source
	return path, m.run("go build "+name, cmd)
}

// kept returns a folder of the cache that has copies of files and what the command made of them. The command runs when there
// is none for files of this content.
func (m Machine) kept(ctx context.Context, what, name, source string, files []string, command func(scratch string) *exec.Cmd) (string, error) {
	cache, err := m.cache()
	if err != nil {
		return "", err
	}
	sum, err := digest(source, files)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	dir := filepath.Join(cache, name+"-"+sum)
	lock, err := os.OpenFile(filepath.Join(cache, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("lock the cache of %s: %w", name, err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock the cache of %s: %w", name, err)
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	scratch, err := os.MkdirTemp(cache, ".making-")
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	defer os.RemoveAll(scratch)
	if err := copyFiles(source, scratch, files); err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	if err := m.run(what, command(scratch)); err != nil {
		return "", err
	}
	if err := os.Rename(scratch, dir); err != nil {
		return "", fmt.Errorf("keep what %s made: %w", what, err)
	}
	return dir, ctx.Err()
}

func (m Machine) cache() (string, error) {
	dir := m.Cache
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the cache folder: %w", err)
		}
		dir = filepath.Join(user, "axle", "interop")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	return dir, nil
}

// run says how long a command takes; its output is only of interest when it fails.
func (m Machine) run(what string, cmd *exec.Cmd) error {
	return progress.Step(m.Out, m.Clock, what, nil, func() error {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", what, err, out[max(0, len(out)-8000):])
		}
		return nil
	})
}

// digest names the content of files.
func digest(source string, files []string) (string, error) {
	sum := sha256.New()
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(source, file))
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, file, len(b))
		sum.Write(b)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}

func copyFiles(from, to string, files []string) error {
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(from, file))
		if err != nil {
			return err
		}
		path := filepath.Join(to, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
