package matrix

import (
	"context"
	"fmt"
	"os/exec"

	"github.com/axlemesh/axle/hack/bench/load"
	"github.com/axlemesh/axle/hack/bench/opinion"
	"github.com/axlemesh/axle/hack/bench/peers"
	"github.com/axlemesh/axle/hack/bench/proc"
	"github.com/axlemesh/axle/hack/bench/report"
)

// Opinion is the part of a bench that has the sidecar and nginx loaded by the generators of others.
const Opinion = "opinion"

// opinions has every tool that can be had ask the sidecar and nginx.
func (b *bench) opinions(ctx context.Context, repetition int, proxies []proxy) error {
	install := &peers.Installer{Cache: b.Cache, Out: b.Out}
	for _, tool := range opinion.Tools {
		binary, err := install.Debian(ctx, tool.Name, tool.Package)
		if err != nil {
			b.without(tool.Name, tool.Protocol, err)
			b.missing[report.Absent{Proxy: report.Axle, Load: report.Name(tool.Protocol, report.Kind(tool.Name))}] = tool.Name + ": " + err.Error()
			continue
		}
		for _, p := range proxies {
			if p.protocol != tool.Protocol || p.name != report.Axle && p.name != report.Nginx {
				continue
			}
			if err := b.with(ctx, p, func(running *pair) error { return b.second(ctx, repetition, running, tool, binary) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// second is one run of a tool.
func (b *bench) second(ctx context.Context, repetition int, p *pair, tool opinion.Tool, binary string) error {
	cmd, err := tool.Command(binary, b.dir, p.addr, payload, b.Window)
	if err != nil {
		return err
	}
	if err := b.quiet(ctx); err != nil {
		return err
	}
	before, err := proc.Read(p.pid())
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, b.Self, append([]string{"pin", generatorCore}, cmd...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", tool.Name, err, out)
	}
	after, err := proc.Read(p.pid())
	if err != nil {
		return err
	}
	r, err := tool.Parse(string(out))
	if err != nil {
		return err
	}
	m := proc.MemoryOf(p.pid())
	b.add(report.Row{
		Repetition: repetition, Proxy: p.name, Load: report.Name(tool.Protocol, report.Kind(tool.Name)), AnonKB: m.Anon, ResidentKB: m.Resident,
		Result: load.Result{Requests: r.Requests, RPS: r.RPS, CPU: float64((after.CPU - before.CPU).Nanoseconds()) / 1000 / float64(r.Requests), Allocations: -1},
	})
	return nil
}
