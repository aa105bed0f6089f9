package proxy_test

import (
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestAClientThatLeavesAmidABatch: its request is with the next owner, which has been told of it and counts its end, alone.
func TestAClientThatLeavesAmidABatch(t *testing.T) {
	c := traced(t, 100)
	a := newAsker(t)
	raw := headed(7, nil, "service", echoService)
	write(t, a.client, raw)
	a.accept(t)
	m := a.read(t)
	w := begin(t, a.e, a.s)
	b := w.freeze(t, 1)
	w.prepare(t, b)
	_ = a.client.Close()
	until(t, "the client is gone", func() bool { return a.e.Stats().Downstream[config.Outbound] == 0 })
	w.resume(b.ID)
	answer := frame(0, m.id, "", nil)
	answer[10] = 0
	write(t, a.conn, answer)
	until(t, "its answer is late", func() bool { return w.to.Stats().Late == 1 })
	w.freezeRest(t)
	if got := endsOf(w.to.Stats(), echoService, "default"); got.all != 1 || got.gone != 1 {
		t.Errorf("ends %+v of %+v", got, w.to.Stats().Series)
	}
	spans := c.all(t, a.e, w.to)
	if len(spans) != 1 {
		t.Errorf("%d spans: %+v", len(spans), spans)
	}
}

// freezeRest finds nothing more, which is when the donor sends its counters, and is the end.
func (w *twins) freezeRest(t *testing.T) {
	t.Helper()
	if b, err := w.donor.Freeze(w.id+1, 64); err != nil || len(b.Conns) > 0 {
		t.Fatalf("%d connections are left, %v", len(b.Conns), err)
	}
	w.candidate.Done()
	w.candidate.(interface{ EndMove() }).EndMove()
}
