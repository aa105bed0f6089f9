package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// endsOnce checks that the requests of a handover that was given up have ended once each, in whichever process, and are logged as
// often.
func (w *twins) endsOnce(t *testing.T, log *lines, want map[string]uint64) {
	t.Helper()
	got := map[string]uint64{}
	all := uint64(0)
	for _, s := range []proxy.Stats{w.from.Stats(), w.to.Stats()} {
		for _, c := range s.Series {
			for _, one := range c.Codes {
				got[one.Code.String()+" "+one.Flag.String()] += one.N
				all += one.N
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the ends of requests are %v, want %v", got, want)
	}
	log.wait(t, int(all))
}

// leave ends the client, and returns when both processes know.
func (a *asker) leave(t *testing.T, w *twins) {
	t.Helper()
	_ = a.client.Close()
	until(t, "the client is gone", func() bool { return a.e.Stats().Downstream[config.Outbound] == 0 })
	_ = w.to.Stats() // behind what was relayed
}

// TestAnAbortCountsEachRequestOnce gives handovers up that have moved a part, while the candidate lives: what a client was told
// is what counts.
func TestAnAbortCountsEachRequestOnce(t *testing.T) {
	const ok, failed, gone, late = "0 -", "5 handover", "- client_gone", "0 client_gone"
	for name, tc := range map[string]struct {
		move func(t *testing.T, a *asker, w *twins, m message)
		want map[string]uint64
	}{
		"before a commit": {func(t *testing.T, a *asker, w *twins, m message) {
			b := w.freeze(t, 1)
			w.prepare(t, b)
			w.candidate.Drop(b.ID)
			w.donor.Thaw(b.ID)
			w.abort()
			a.answer(t, m)
			a.got(t, map[uint32]uint16{1: 0})
		}, map[string]uint64{ok: 1}},
		"its endpoint has moved": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			a.ask(t, 2)
			m2 := a.seen(t, 2)
			w.abort()
			a.got(t, map[uint32]uint16{1: 5, 2: 5})
			a.answer(t, m)
			a.answer(t, m2)
			until(t, "both answers are dropped", func() bool { return w.to.Stats().Late == 2 })
		}, map[string]uint64{failed: 2}},
		"it was answered": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			a.answer(t, m)
			a.got(t, map[uint32]uint16{1: 0})
			w.abort()
		}, map[string]uint64{ok: 1}},
		"its answer comes when no relay goes": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			w.candidate.(interface{ EndRelay() }).EndRelay()
			a.answer(t, m)
			until(t, "the answer is dropped", func() bool { return w.to.Stats().Late == 1 })
			w.abort()
			a.got(t, map[uint32]uint16{1: 5})
		}, map[string]uint64{failed: 1}},
		"its endpoint goes when no relay goes": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			w.candidate.(interface{ EndRelay() }).EndRelay()
			_ = a.conn.Close()
			until(t, "the failure is dropped", func() bool { return w.to.Stats().Late == 1 })
			w.abort()
			a.got(t, map[uint32]uint16{1: 5})
		}, map[string]uint64{failed: 1}},
		"its answer is relayed and does not come": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			a.ask(t, 2)
			m2 := a.seen(t, 2)
			a.answer(t, m)
			a.got(t, map[uint32]uint16{1: 0})
			w.lose()
			a.answer(t, m2)
			until(t, "the answer is relayed", func() bool { return w.to.Stats().Waiting == 0 })
			w.abort()
			a.got(t, map[uint32]uint16{2: 5})
		}, map[string]uint64{ok: 1, failed: 1}},
		"that its endpoint has gone is relayed and does not come": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			w.lose()
			_ = a.conn.Close()
			until(t, "the failure is relayed", func() bool { return w.to.Stats().Waiting == 0 })
			w.abort()
			a.got(t, map[uint32]uint16{1: 5})
			if n := w.to.Stats().Failed[proxy.FailUpstreamClosed]; n != 0 {
				t.Errorf("%d failures of the endpoint are counted besides that of the handover", n)
			}
		}, map[string]uint64{failed: 1}},
		"its answer is relayed and does not come, and its client moves": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			b := w.freeze(t, 1)
			w.prepare(t, b)
			w.lose()
			a.answer(t, m)
			until(t, "the answer is relayed", func() bool { return w.to.Stats().Waiting == 0 })
			w.resume(b.ID)
			w.abort()
		}, map[string]uint64{ok: 1}},
		"its answer is relayed when the donor dies": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			w.lose()
			a.answer(t, m)
			until(t, "the answer is relayed", func() bool { return w.to.Stats().Waiting == 0 })
			w.candidate.(interface{ EndMove() }).EndMove()
		}, map[string]uint64{ok: 1}},
		"its client leaves, and it is given up when all has moved": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			a.leave(t, w)
			w.freeze(t, 0)
			w.candidate.Done()
			a.answer(t, m)
			until(t, "the answer is dropped", func() bool { return w.to.Stats().Late == 1 })
			w.abort()
		}, map[string]uint64{gone: 1}},
		"its client has moved too": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			a.ask(t, 2)
			m2 := a.seen(t, 2)
			w.commit(t, w.freeze(t, 1))
			w.abort()
			a.answer(t, m)
			a.answer(t, m2)
			a.got(t, map[uint32]uint16{1: 0, 2: 0})
		}, map[string]uint64{ok: 2}},
		"its client has left": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			a.leave(t, w)
			w.abort()
			a.answer(t, m)
			until(t, "the answer is dropped", func() bool { return w.to.Stats().Late == 1 })
		}, map[string]uint64{gone: 1}},
		"its client leaves, and its answer comes": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			a.leave(t, w)
			a.answer(t, m)
			until(t, "the answer is dropped", func() bool { return w.to.Stats().Late == 1 })
			w.abort()
		}, map[string]uint64{gone: 1}},
		"its client leaves while it is frozen": {func(t *testing.T, a *asker, w *twins, m message) {
			b := w.freeze(t, 1)
			a.leave(t, w)
			w.commit(t, b)
			w.abort()
			a.answer(t, m)
			until(t, "the answer is dropped", func() bool { return w.to.Stats().Late == 1 })
		}, map[string]uint64{gone: 1}},
		"its client has left, and nothing is given up": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			a.leave(t, w)
			a.answer(t, m)
			until(t, "the answer is dropped", func() bool { return w.to.Stats().Late == 1 })
			w.freeze(t, 0)
			w.candidate.Done()
			w.freeze(t, 0)
			w.candidate.(interface{ EndMove() }).EndMove()
		}, map[string]uint64{late: 1}},
		"the donor dies": {func(t *testing.T, a *asker, w *twins, m message) {
			w.commit(t, w.freeze(t, 1))
			w.candidate.(interface{ EndRelay() }).EndRelay()
			a.answer(t, m)
			until(t, "the answer is dropped", func() bool { return w.to.Stats().Late == 1 })
			w.candidate.(interface{ EndMove() }).EndMove()
		}, map[string]uint64{late: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			log, a := logging(t), newAsker(t)
			a.ask(t, 1)
			a.accept(t)
			m := a.seen(t, 1)
			w := begin(t, a.e, a.s)
			tc.move(t, a, w, m)
			w.endsOnce(t, log, tc.want)
		})
	}
}

// TestABatchThatStaysCountsNothing: a batch is thawed, its request ends, and the connection moves when it is about to close behind
// an answer of ours: there is no request any more that could end.
func TestABatchThatStaysCountsNothing(t *testing.T) {
	log, answer, addr := logging(t), make(chan struct{}), freePort(t)
	var e *proxy.Engine
	o := newOrigin(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
		<-answer
		full := func() bool { // the client does not read
			time.Sleep(20 * time.Millisecond)
			return e.Unsent() > 0
		}
		for n := uint64(0); e.Unsent() == 0 || !full(); {
			_, _ = w.Write(make([]byte, 16<<10))
			w.(http.Flusher).Flush()
			n += 16 << 10
			until(t, "it is taken", func() bool { return e.Stats().Upstreams["shop"].Received >= n })
		}
	})
	s := httpSnapshot(addr, o.addr)
	e = started(t, 1, s)
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	write(t, conn, []byte("GET / HTTP/1.1\r\nHost: shop.demo\r\n\r\n"))
	until(t, "the request is there", func() bool { return o.seen.Load() == 1 })
	w := begin(t, e, s)
	b := w.freeze(t, 2)
	for _, conn := range b.Conns {
		_ = unix.Close(conn.FD)
	}
	w.donor.Thaw(b.ID)
	close(answer)
	until(t, "the answer has come", func() bool { return endsOf(e.Stats(), "shop.demo", "default").all == 1 })
	write(t, conn, []byte("GET / HTTP/1.1\r\nHost: nobody.demo\r\nConnection: close\r\n\r\n"))
	until(t, "the next request is refused", func() bool { return e.Stats().Failed[proxy.FailNoRoute] == 1 })
	w.commit(t, w.freeze(t, 1))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
	until(t, "the connection is closed", func() bool { return w.to.Stats().Downstream[config.Outbound] == 0 })
	w.endsOnce(t, log, map[string]uint64{"200 -": 1, "404 no_route": 1})
}
