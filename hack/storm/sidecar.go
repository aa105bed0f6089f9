package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/hack/peers/boltclient"
)

// The sidecar's addresses; every generation has the same.
const (
	outboundAddr = "127.0.0.1:18320"
	inboundAddr  = "127.0.0.1:18350"
	adminAddr    = "127.0.0.1:18331"
	meshAPIAddr  = "127.0.0.1:18330"
)

// build makes a sidecar from source, sabotaged when breakage names how.
func build(ctx context.Context, source, breakage, to string) error {
	args := []string{"build", "-C", source, "-o", to}
	switch breakage {
	case "":
	case "drop", "reset", "dup":
		args = append(args, "-tags", "axle_break_"+breakage)
	default:
		return fmt.Errorf("BREAK=%q: it is drop, reset or dup", breakage)
	}
	if out, err := exec.CommandContext(ctx, "go", append(args, "./sidecar")...).CombinedOutput(); err != nil {
		return fmt.Errorf("build the sidecar: %w\n%s", err, out)
	}
	return nil
}

// sidecar is one generation, running as a plain process.
type sidecar struct {
	generation int
	cmd        *exec.Cmd
	log        string
	done       chan struct{}
	err        error
}

// tryingAgain makes a route send what is slow a second time.
func tryingAgain(r *bootstrap.Route, hedge bool) {
	r.Timeout, r.Attempts = "10s", 5
	r.Retry = &bootstrap.Retry{RetryOn: []string{"gateway-error"}, PerTry: "50ms", Hedge: hedge, AnyMethod: true, BudgetPercent: 100}
}

// bootstrapOf is what one generation reads. Only its number differs from the one before.
func bootstrapOf(generation int, keyFile string, outbound, inbound []string) bootstrap.Bootstrap {
	return bootstrap.Bootstrap{
		Node:     bootstrap.Node{ID: "storm", Version: fmt.Sprintf("v%d", generation), Generation: int64(generation)},
		Admin:    adminAddr,
		MeshAPI:  meshAPIAddr,
		Handover: bootstrap.Handover{Socket: fmt.Sprintf("@axle/storm-%d", os.Getpid()), KeyFile: keyFile},
		Loops:    1,
		Static: &bootstrap.Static{
			Listeners: []bootstrap.Listener{
				{Name: "outbound", Address: outboundAddr, Protocol: bootstrap.Bolt},
				{Name: "inbound", Address: inboundAddr, Protocol: bootstrap.Bolt, Cluster: "application"},
			},
			Routes: []bootstrap.Route{{Service: boltclient.DefaultService, Cluster: "ledger"}},
			Clusters: []bootstrap.Cluster{
				{Name: "ledger", Endpoints: outbound},
				{Name: "application", Endpoints: inbound},
			},
		},
	}
}

// launch starts a generation; all but the first take over from their predecessor.
func (s *storm) launch(ctx context.Context, generation int) (*sidecar, error) {
	other := s.cfg.Other != "" && generation%2 == 0
	boot := bootstrapOf(generation, s.keyFile, s.outbound, s.inbound)
	if s.cfg.Hedge {
		tryingAgain(&boot.Static.Routes[0], !other)
	}
	conf, err := yaml.Marshal(boot)
	if err != nil {
		return nil, fmt.Errorf("encode bootstrap: %w", err)
	}
	name := filepath.Join(s.dir, fmt.Sprintf("generation-%d", generation))
	if err := os.WriteFile(name+".yaml", conf, 0o600); err != nil {
		return nil, fmt.Errorf("write bootstrap: %w", err)
	}
	args := []string{"run", "-f", name + ".yaml"}
	if generation > 1 {
		args = append(args, "--takeover")
	}
	g := &sidecar{generation: generation, log: name + ".log", done: make(chan struct{})}
	binary := s.binary
	if other {
		binary = s.cfg.Other
	}
	g.cmd = exec.CommandContext(ctx, binary, args...)
	g.cmd.Cancel = func() error { return g.cmd.Process.Signal(syscall.SIGTERM) }
	g.cmd.WaitDelay = 5 * time.Second
	log, err := os.Create(g.log)
	if err != nil {
		return nil, fmt.Errorf("log of generation %d: %w", generation, err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	var out io.Writer = log
	if s.cfg.Verbose {
		out = io.MultiWriter(log, s.cfg.Out)
	}
	g.cmd.Stdout, g.cmd.Stderr = out, out
	if out == log {
		g.cmd.Stdout, g.cmd.Stderr = log, log
	}
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start generation %d: %w", generation, err)
	}
	go func() {
		g.err = g.cmd.Wait()
		close(g.done)
	}()
	return g, nil
}

// ended waits for a generation to exit 0.
func (g *sidecar) ended(ctx context.Context, limit time.Duration) error {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-g.done:
		if g.err != nil {
			return fmt.Errorf("generation %d: %w; its last words:\n%s", g.generation, g.err, g.tail())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return fmt.Errorf("generation %d is still there after %v; its last words:\n%s", g.generation, limit, g.tail())
	}
}

// stop ends a generation whatever it does.
func (g *sidecar) stop() {
	_ = g.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	if g.ended(context.Background(), 5*time.Second) != nil {
		_ = g.cmd.Process.Kill()
		<-g.done
	}
}

// tail is the end of what a generation has logged.
func (g *sidecar) tail() []byte {
	b, err := os.ReadFile(g.log)
	if err != nil {
		return nil
	}
	return bytes.TrimSpace(b[max(0, len(b)-2000):])
}

// footprint collects garbage in a generation and reads what it still holds.
func (g *sidecar) footprint(ctx context.Context) (Footprint, error) {
	body, err := admin(ctx, http.MethodPost, "/gc")
	if err != nil {
		return Footprint{}, err
	}
	// The connection of that question closes a moment after its answer.
	if !wait(ctx, 300*time.Millisecond) {
		return Footprint{}, ctx.Err()
	}
	kinds, err := descriptors(g.cmd.Process.Pid)
	if err != nil {
		return Footprint{}, fmt.Errorf("descriptors of generation %d: %w", g.generation, err)
	}
	goroutines, ok := metric(body, "goroutines")
	heap, also := metric(body, "heap_alloc_bytes")
	if !ok || !also {
		return Footprint{}, fmt.Errorf("the sidecar's answer to POST /gc lacks goroutines or heap_alloc_bytes: %q", body)
	}
	return Footprint{Kinds: kinds, Goroutines: int(goroutines), Heap: int64(heap)}, nil
}

// descriptors counts what a process has open, by kind.
func descriptors(pid int) (map[string]int, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	kinds := map[string]int{}
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join(dir, fd.Name()))
		if err != nil {
			return nil, err
		}
		kind, _, _ := strings.Cut(target, ":[") // socket:[4711]
		kinds[kind]++
	}
	return kinds, nil
}

// admin asks the sidecar's admin API on a connection of its own.
func admin(ctx context.Context, method, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+adminAddr+path, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the sidecar: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, bytes.TrimSpace(body))
	}
	return body, nil
}

func metric(body []byte, name string) (float64, bool) {
	lines := bufio.NewScanner(bytes.NewReader(body))
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, err := strconv.ParseFloat(v, 64)
			return n, err == nil
		}
	}
	return 0, false
}
