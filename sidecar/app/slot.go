package app

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/control"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/slot"
	"github.com/axlemesh/axle/sidecar/xds"
)

// inSlot is what a process in a slot has besides: a directory that it shares with its successors. A nil one has nothing.
type inSlot struct {
	dir     slot.Dir
	keeper  *slot.Keeper
	highest atomic.Int64
}

func newInSlot(b bootstrap.Slot, log logr.Logger) *inSlot {
	dir := slot.Dir(b.Dir)
	return &inSlot{dir: dir, keeper: slot.NewKeeper(dir, log)}
}

// holdsLock says whether the slots' lock is among sockets: whoever has it serves.
func holdsLock(all []handover.Socket) bool {
	return slices.ContainsFunc(all, func(s handover.Socket) bool { return s.Key == slot.LockKey })
}

// term is the pod's present one. A file that is being written right now does not make it go back.
func (s *inSlot) term() int64 {
	if s == nil {
		return 0
	}
	t := max(s.dir.Term(), s.highest.Load())
	s.highest.Store(t)
	return t
}

// known is what this process starts from: what the supervisor kept for it, else what the pod's last serving process wrote down. A candidate
// gets its configuration from the one that serves.
func (a *app) known() map[string][]byte {
	if a.slot == nil {
		return a.Kept.State
	}
	all := map[string][]byte{}
	for _, key := range []string{keepXDS, control.KeepTrust} {
		if key == keepXDS && !a.life.restarted {
			continue
		}
		b, err := a.slot.dir.State(key)
		if err != nil {
			a.Log.Error(err, "What was kept for a restart of the pod is ignored")
		}
		if b != nil {
			all[key] = b
		}
	}
	maps.Copy(all, a.Kept.State)
	return all
}

// keep leaves data for the next process of this container, and in a slot, while it serves, for the pod.
func (a *app) keep(key string, data []byte) error {
	if a.slot != nil && key == control.KeepTrust {
		a.slot.keeper.Keep(key, data)
	}
	return a.Supervisor.Keep(key, data)
}

// keepConfig leaves the last good configuration as keep would. Keys stay in memory: the supervisor's, and the slots'
// directory if that is nothing else.
func (a *app) keepConfig(g xds.LastGood) error {
	if a.slot != nil {
		data := g.Keyless
		if a.slot.dir.InMemory() {
			data = g.All
		}
		a.slot.keeper.Keep(keepXDS, data)
	}
	return a.Supervisor.Keep(keepXDS, g.All)
}

// keepForPod lets what was kept be found after a restart of the whole pod: this process serves.
func (a *app) keepForPod() {
	if a.slot != nil {
		a.slot.keeper.Open()
	}
}

// unlock lets go of the lock that came with a handover which failed: the other slot has it, or nobody, and then this pod is served anew.
func (a *app) unlock() {
	if err := a.set.Close(slot.LockKey); err != nil {
		a.Log.Error(err, "The slots' lock is still held")
	}
}

// markLeft notes for the other slot that it is not to step in.
func (a *app) markLeft() {
	if a.slot == nil || a.life.phase != leaving || a.life.terminated {
		return
	}
	fd, ok := a.set.FD(slot.LockKey)
	if !ok {
		return
	}
	if err := slot.MarkLeft(fd); err != nil {
		a.Log.Error(err, "The other slot may serve for a moment")
	}
}
