package ledger

import (
	"testing"

	"github.com/axlemesh/axle/hack/peers/wire"
)

func TestRemembersAWindow(t *testing.T) {
	steps := []struct {
		seq   uint64
		fresh bool
	}{
		{1, true}, {1, false}, {3, true}, {2, true}, {2, false},
		{window, true}, {3, false}, {window + 3, true}, {4, true},
		{3, false}, // left the window: counts as seen
		{10 * window, true}, {9*window + 1, true}, {9*window + 1, false}, {9 * window, false},
	}
	var l Ledger
	for i, s := range steps {
		if got := l.Add(wire.Identity{Client: 1, Conn: 1, Seq: s.seq}); got != s.fresh {
			t.Errorf("step %d: sequence %d is fresh: %v, want %v", i, s.seq, got, s.fresh)
		}
	}
	if !l.Add(wire.Identity{Client: 1, Conn: 2, Seq: 1}) {
		t.Error("another connection's sequence was taken for this one's")
	}
}
