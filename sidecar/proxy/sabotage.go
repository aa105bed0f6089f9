package proxy

import (
	"os"

	"github.com/axlemesh/axle/sidecar/config"
)

// sabotage is the state of a build that loses something on purpose; see sabotage_off.go. In a build that is shipped
// the constants are false and nothing of this is compiled in.
type sabotage struct {
	armed bool // this process has taken connections over
	done  bool
	seen  int
}

// sabotaged drops or doubles one response in sabotageEvery; it returns true when the response must not be sent any more.
func (w *worker) sabotaged(d *downstream, frame []byte) bool { //nolint:unparam // true in sabotaged builds
	if !sabotageDrop && !sabotageDup || !w.sabotage.armed || d.from.Direction != config.Outbound {
		return false
	}
	if w.sabotage.seen++; w.sabotage.seen%sabotageEvery != 0 {
		return false
	}
	if sabotageDup {
		d.conn.Write(frame)
	}
	return sabotageDrop
}

// sabotageMoved closes one client's connection of a handover.
func (w *worker) sabotageMoved(batch []restored) {
	w.sabotage.armed = true
	if !sabotageReset || w.sabotage.done {
		return
	}
	for _, r := range batch {
		if r.down != nil && r.down.from.Direction == config.Outbound {
			w.sabotage.done = true
			r.conn.Close(nil)
			return
		}
	}
}

// sabotageExitCode is the code that a candidate with sabotageExit ends with.
const sabotageExitCode = 3

// sabotageOffered ends the process in the middle of a handover, before it has answered.
func sabotageOffered() {
	if sabotageExit {
		os.Exit(sabotageExitCode) //nolint:forbidigo // a process that crashes is what this build is for
	}
}
