//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"os"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"github.com/axlemesh/axle/hack/cluster/node"
	"github.com/axlemesh/axle/hack/demo/stage"
	"github.com/axlemesh/axle/hack/demo/story"
)

// The versions: each sabotaged one is a version of its own.
const (
	first = "v1-0-0"
	drop  = "v1-1-0-drop"
	reset = "v1-1-0-reset"
	dup   = "v1-1-0-dup"
	split = "v1-1-0-split"
	dies  = "v1-4-0" // in its handover
)

var upgrades = []string{"v1-1-0", "v1-2-0", "v1-3-0"}

// theater is the cluster with Axle installed; every spec opens a scene of its own in it.
var theater *stage.Stage

// machine is that cluster.
var machine *node.Cluster

var options = node.Options{Name: cmp.Or(os.Getenv("E2E_CLUSTER"), "e2e"), Source: "../..", Out: GinkgoWriter}

func TestE2E(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Axle on a real cluster")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	var err error
	machine, err = node.FromEnv(os.Getenv, options, func(o node.Options) (*node.Cluster, error) { return node.Up(ctx, o) })
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func(ctx SpecContext) {
		if machine.Owned() && os.Getenv("E2E_KEEP") != "1" {
			Expect(node.Down(ctx, options)).To(Succeed())
		}
	}, NodeTimeout(5*time.Minute))
	versions := []stage.Version{{Name: first}}
	for _, v := range upgrades {
		versions = append(versions, stage.Version{Name: v})
	}
	versions = append(versions, stage.Version{Name: drop, Break: "drop"}, stage.Version{Name: reset, Break: "reset"}, stage.Version{Name: dup, Break: "dup"},
		stage.Version{Name: split, Break: "split"}, stage.Version{Name: dies, Break: "exit"})
	theater, err = stage.Prepare(ctx, stage.Config{
		Cluster: machine, Source: "../..", Versions: versions, Out: GinkgoWriter, Clock: clock.RealClock{},
	})
	Expect(err).NotTo(HaveOccurred())
}, NodeTimeout(25*time.Minute))

// open makes a scene that is gone after the spec.
func open(ctx context.Context, name string) *stage.Scene {
	GinkgoHelper()
	sc, err := theater.Open(ctx, name)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func(ctx SpecContext) { Expect(sc.Close(ctx)).To(Succeed()) }, NodeTimeout(3*time.Minute))
	return sc
}

// troupe is a scene, or one to which something happens.
type troupe interface {
	story.Watcher
	story.Operator
	story.Load
}

// tell plays a short story with these upgrades.
func tell(ctx context.Context, sc troupe, settle time.Duration, upgrades ...string) story.Verdict {
	return play(ctx, sc, plan(settle, upgrades...))
}

func plan(settle time.Duration, upgrades ...string) story.Plan {
	return story.Plan{
		First: first, Upgrades: upgrades, Pods: stage.Pods, Connections: stage.Connections,
		Baseline: 5 * time.Second, Steady: 5 * time.Second, Settle: settle, Patience: 3 * time.Minute, Poll: 500 * time.Millisecond,
	}
}

func play(ctx context.Context, sc troupe, plan story.Plan) story.Verdict {
	v := story.Story{
		Plan: plan, Watcher: sc, Operator: sc, Load: sc,
		Say: func(format string, args ...any) {
			GinkgoWriter.Printf("%s  "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
		},
		Now: time.Now, Wait: pause,
	}.Tell(ctx)
	GinkgoWriter.Println(v)
	return v
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
