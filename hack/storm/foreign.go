package main

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/hack/bench/proc"
)

// effort is what the machine and this storm's own processes have worked up to a moment.
type effort struct {
	at       time.Time
	all, own time.Duration
}

// effort reads the clocks. Generations that have ended count as children of this process.
func (s *storm) effort(g *sidecar) (effort, error) {
	e := effort{at: s.cfg.Now()}
	var err error
	if e.all, err = proc.Busy(); err != nil {
		return e, err
	}
	living, err := proc.Read(g.cmd.Process.Pid)
	if err != nil {
		return e, err
	}
	e.own = living.CPU
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			return e, fmt.Errorf("read own CPU time: %w", err)
		}
		e.own += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return e, nil
}

// foreign is the part of all cores that others used between two efforts.
func foreign(before, after effort) float64 {
	wall := after.at.Sub(before.at).Seconds() * float64(runtime.NumCPU())
	others := (after.all - before.all) - (after.own - before.own)
	return max(others.Seconds()/max(wall, 0.001), 0)
}
