// Command demo tells the whole story on a real cluster, from nothing to nothing: pods that serve each other get sidecars while
// they run, more pods come and are created with them, the sidecars change their version three times under load, a broken version goes back by
// itself, a rule splits the traffic, and the sidecars leave again. Its last line says PASS or FAIL.
//
//	go run ./hack/demo
//
// Environment: BREAK=drop|reset|dup|split sabotages the sidecars of the upgrades, and the demo has to end in FAIL;
// DEMO_BASELINE, DEMO_STEADY and DEMO_SETTLE are durations; DEMO_KEEP=1 leaves the cluster up; CLUSTER=existing with
// REGISTRY uses the cluster of the current kubeconfig context.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/utils/clock"

	"github.com/axlemesh/axle/hack/cluster/node"
	"github.com/axlemesh/axle/hack/demo/stage"
	"github.com/axlemesh/axle/hack/demo/story"
)

// cleanupLimit is how long cleaning up may take, also after an interrupt.
const cleanupLimit = 2 * time.Minute

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	cluster := flag.String("cluster", "demo", "name of the demo's own cluster")
	flag.Parse()
	verdict := run(ctx, *cluster, os.Getenv, os.Stdout)
	fmt.Println(verdict)
	if !verdict.Passed() {
		os.Exit(1)
	}
}

// run tells the story and cleans up. Whatever goes wrong is in the verdict.
func run(ctx context.Context, cluster string, env func(string) string, out io.Writer) (v story.Verdict) {
	cfg, err := configure(env)
	if err != nil {
		return story.Verdict{Why: []string{err.Error()}}
	}
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "%s  "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
	}
	o := node.Options{Name: cluster, Out: out}
	var c *node.Cluster
	defer func() {
		if env("DEMO_KEEP") == "1" {
			say("the cluster stays up: go run ./hack/cluster -name %s down", cluster)
			return
		}
		if err := cleanUp(ctx, c, o, env); err != nil {
			v.Why = append(v.Why, err.Error())
		}
	}()
	say("0. a real Kubernetes on this machine")
	c, err = node.FromEnv(env, o, func(o node.Options) (*node.Cluster, error) { return node.Up(ctx, o) })
	if err != nil {
		return story.Verdict{Why: []string{err.Error()}}
	}
	st, err := stage.Prepare(ctx, stage.Config{Cluster: c, Versions: cfg.versions, Out: out, Clock: clock.RealClock{}})
	if err != nil {
		return story.Verdict{Why: []string{err.Error()}}
	}
	say("   servers and clients, Bolt and HTTP/1.1, start in namespace %s", sceneName)
	scene, err := st.Open(ctx, sceneName)
	if err != nil {
		return story.Verdict{Why: []string{err.Error()}}
	}
	defer func() {
		if !c.Owned() {
			v.Why = append(v.Why, strike(ctx, scene)...)
		}
	}()
	return story.Story{Plan: cfg.plan, Watcher: scene, Operator: scene, Load: scene, Say: say, Now: time.Now, Wait: wait}.Tell(ctx)
}

// sceneName is the demo's namespace.
const sceneName = "axle-demo"

// settings are what the environment asks for.
type settings struct {
	versions []stage.Version
	plan     story.Plan
}

func configure(env func(string) string) (settings, error) {
	breakage := env("BREAK")
	switch breakage {
	case "", "drop", "reset", "dup", "split":
	default:
		return settings{}, fmt.Errorf("BREAK=%q: it is drop, reset, dup or split", breakage)
	}
	s := settings{
		versions: []stage.Version{{Name: "v1-0-0"}},
		plan: story.Plan{
			First: "v1-0-0", Upgrades: []string{"v1-1-0", "v1-2-0", "v1-3-0"}, Broken: "v1-4-0",
			Pods: stage.Pods, Connections: stage.Connections, Added: 2, Split: 10, Measure: 20 * time.Second,
			Patience: 3 * time.Minute, Poll: 500 * time.Millisecond,
		},
	}
	for i, v := range s.plan.Upgrades {
		if breakage != "" {
			v += "-" + breakage
			s.plan.Upgrades[i] = v
		}
		s.versions = append(s.versions, stage.Version{Name: v, Break: breakage})
	}
	s.versions = append(s.versions, stage.Version{Name: s.plan.Broken, Break: "exit"})
	for _, d := range []struct {
		name      string
		to        *time.Duration
		otherwise time.Duration
	}{
		{"DEMO_BASELINE", &s.plan.Baseline, time.Minute},
		{"DEMO_STEADY", &s.plan.Steady, 30 * time.Second},
		{"DEMO_SETTLE", &s.plan.Settle, 15 * time.Second},
	} {
		*d.to = d.otherwise
		if v := env(d.name); v != "" {
			parsed, err := time.ParseDuration(v)
			if err != nil {
				return s, fmt.Errorf("%s: %w", d.name, err)
			}
			*d.to = parsed
		}
	}
	return s, nil
}

// cleanUp ends our own cluster, also when it did not come up completely. A user's own cluster stays.
func cleanUp(ctx context.Context, c *node.Cluster, o node.Options, env func(string) string) error {
	if env("CLUSTER") == "existing" || c != nil && !c.Owned() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	return node.Down(ctx, o)
}

// strike takes the demo away from a cluster that stays.
func strike(ctx context.Context, scene *stage.Scene) []string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	if err := errors.Join(scene.Close(ctx), scene.Uninstall(ctx)); err != nil {
		return []string{err.Error()}
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
