package node

import (
	"context"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"github.com/axlemesh/axle/hack/cluster/proc"
	"github.com/axlemesh/axle/hack/cluster/settings"
)

// Processes returns the records of the cluster's processes, in starting order.
func (c *Cluster) Processes() ([]proc.Record, error) {
	if !c.Owned() {
		return nil, fmt.Errorf("list the processes: %w", ErrNotOwned)
	}
	var out []proc.Record
	for _, name := range settings.Daemons() {
		r, err := c.table.Find(name)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// Stop ends one process (see settings.Daemons): SIGTERM, and SIGKILL after 20 s.
// Containers keep running.
func (c *Cluster) Stop(ctx context.Context, name string) error {
	return c.stop(ctx, name, syscall.SIGTERM)
}

// Kill ends one process with SIGKILL, as a crash would.
func (c *Cluster) Kill(ctx context.Context, name string) error {
	return c.stop(ctx, name, syscall.SIGKILL)
}

func (c *Cluster) stop(ctx context.Context, name string, sig syscall.Signal) error {
	if !c.Owned() {
		return fmt.Errorf("stop %s: %w", name, ErrNotOwned)
	}
	if name == settings.Holder {
		return fmt.Errorf("stop %s: the cluster ends with it; call Down", name)
	}
	return c.table.Stop(ctx, name, sig, 20*time.Second)
}

// Start starts one process that was stopped, without waiting for it to be ready.
func (c *Cluster) Start(ctx context.Context, name string) error {
	if !c.Owned() {
		return fmt.Errorf("start %s: %w", name, ErrNotOwned)
	}
	if name == settings.Relay {
		return c.startRelay(ctx)
	}
	return c.start(name)
}

// RestartKubelet ends the kubelet and starts it again. It returns when the new
// one answers its health check and the node is Ready; containers keep running.
func (c *Cluster) RestartKubelet(ctx context.Context) error {
	if err := c.Stop(ctx, settings.Kubelet); err != nil {
		return err
	}
	if err := c.Start(ctx, settings.Kubelet); err != nil {
		return err
	}
	if err := c.kubeletAnswers(ctx); err != nil {
		return fmt.Errorf("restart the kubelet: %w", err)
	}
	return c.waitReady(ctx)
}

// kubeletAnswers waits until the kubelet says that it is healthy.
func (c *Cluster) kubeletAnswers(ctx context.Context) error {
	client := http.Client{Transport: &http.Transport{DialContext: c.DialContext, DisableKeepAlives: true}}
	return c.await(ctx, time.Minute, []string{settings.Kubelet}, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:10248/healthz", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("the kubelet's health check answers %s", response.Status)
		}
		return nil
	})
}

// Ready checks once whether the node is Ready and DNS answers.
func (c *Cluster) Ready(ctx context.Context) error {
	if !c.Owned() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return c.waitReady(ctx)
}
