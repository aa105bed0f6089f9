// kubectl-axle is the kubectl plugin of Axle: put it on the PATH, and `kubectl axle` says how far a rollout is, explains one
// pod, and pauses, resumes and undoes rollouts.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/axlemesh/axle/cmd/kubectl-axle/plugin"
)

func main() {
	ctrl.SetLogger(logr.Discard()) // what matters is in the errors
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := plugin.New(plugin.Options{Out: os.Stdout, Clock: clock.RealClock{}}).ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
