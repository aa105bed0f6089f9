package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// hedgedOut asks, and returns the try that a handover keeps and the one that it calls off.
func (x *race) hedgedOut() (a *wish, kept, lost *shot) {
	x.t.Helper()
	a = x.ask()
	first, second := x.shot(), x.shot()
	if x.rpc() {
		return a, first, second
	}
	return a, second, first
}

// TestHedgesShrinkInAHandover: the next owner has one try, and goes on with it as its route says.
func TestHedgesShrinkInAHandover(t *testing.T) {
	for protocol, p := range racing {
		for _, what := range []string{"ok", "busy", "reset", "too slow"} {
			t.Run(protocol+", then "+what, func(t *testing.T) {
				x := newTrack(t, p, 2, hedged())
				from := started(t, 1, x.s)
				x.e = started2(t, x.s)
				a, kept, lost := x.hedgedOut()
				give(t, from, x.e)
				x.end([]*shot{lost})
				last := kept
				if what != "ok" {
					if what != "too slow" {
						kept.do <- what
					}
					last = x.shot()
				}
				last.do <- "ok"
				if got := x.answer(a); got != "200 "+last.at {
					t.Errorf("answer %q, want 200 of %s", got, last.at)
				}
				if what == "too slow" && x.rpc() {
					kept.do <- "ok"
				}
				x.rested(a)
				if n := endsOf(x.e.Stats(), x.host(), "r"); n.all != 1 || n.answered != 1 {
					t.Errorf("the route counts %+v", n)
				}
				if retries, _ := from.Spent(); retries != 0 || held(from, "v1", "requests") != 0 {
					t.Errorf("the donor counts %d retries and %d requests", retries, held(from, "v1", "requests"))
				}
			})
		}
	}
}

// aborted begins a handover, freezes everything, and gives it up.
func aborted(t *testing.T, e *proxy.Engine, between func()) {
	t.Helper()
	donor := e.Donor()
	donor.BeginMove(func(handover.Relay) {})
	between()
	last := uint64(0)
	for id := uint64(1); ; id++ {
		b, err := donor.Freeze(id, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Conns) == 0 {
			break
		}
		last = id
	}
	for id := last; id > 0; id-- {
		donor.Thaw(id)
	}
	donor.EndMove()
}

// TestHedgesInAnAbortedHandover: a request that had two tries has one, which answers it.
func TestHedgesInAnAbortedHandover(t *testing.T) {
	for protocol, p := range racing {
		t.Run(protocol, func(t *testing.T) {
			x := newRace(t, p, 2, hedged(func(r *config.Route) { r.Attempts = 2 }))
			a, kept, lost := x.hedgedOut()
			aborted(t, x.e, func() {})
			x.end([]*shot{lost})
			kept.do <- "ok"
			if got := x.answer(a); got != "200 "+kept.at {
				t.Errorf("answer %q, want 200 of %s", got, kept.at)
			}
			x.rested(a)
			if n := endsOf(x.e.Stats(), x.host(), "r"); n.all != 1 || n.answered != 1 {
				t.Errorf("the route counts %+v", n)
			}
		})
	}
}

// TestNoHedgeWhileConnectionsMove: it comes when they have stayed.
func TestNoHedgeWhileConnectionsMove(t *testing.T) {
	for protocol, p := range racing {
		t.Run(protocol, func(t *testing.T) {
			x := newRace(t, p, 2, hedged(func(r *config.Route) { r.Retry.PerTry = 3 * slowFor }))
			a := x.ask()
			first := x.shot()
			aborted(t, x.e, func() {
				time.Sleep(5 * slowFor)
				if n := len(x.shots); n > 0 {
					t.Errorf("%d tries more", n)
				}
			})
			second := x.shot()
			second.do <- "ok"
			if got := x.answer(a); got != "200 "+second.at {
				t.Errorf("answer %q, want 200 of %s", got, second.at)
			}
			x.end([]*shot{first})
			x.rested(a)
		})
	}
}

// TestHedgesHopAtEveryByte hands over after every prefix of what both endpoints of a hedged request answer: the client gets one answer.
func TestHedgesHopAtEveryByte(t *testing.T) {
	for protocol, p := range map[string]config.Protocol{"Bolt": config.Bolt, "HTTP1": config.HTTP1} {
		t.Run(protocol, func(t *testing.T) {
			for cut, size := 0, 1; cut < size; cut++ {
				size = hedgedAtByte(t, p, cut)
				if t.Failed() {
					t.Fatalf("at byte %d of %d", cut, size)
				}
			}
		})
	}
}

// hedgedAtByte is one step of it; it returns how many bytes an answer has.
func hedgedAtByte(t *testing.T, p config.Protocol, cut int) int {
	t.Helper()
	ln := listenTCP(t)
	x := newTrack(t, p, 1, hedged(func(r *config.Route) { r.Attempts, r.Retry.PerTry = 2, 5*time.Millisecond }))
	endpoints(x.s, "v1", ln.Addr().(*net.TCPAddr).AddrPort())
	from := started(t, 1, x.s)
	x.e = started2(t, x.s)
	begin, goOn := make(chan bool), make(chan bool)
	come, size := make(chan bool, 2), make(chan int, 2)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go answerInTwo(conn, p, cut, come, begin, goOn, size)
		}
	}()
	a := x.ask()
	until(t, "both tries have come", func() bool { return len(come) == 2 })
	close(begin)
	until(t, "both have answered in part", func() bool { return len(size) == 2 })
	n := <-size
	give(t, from, x.e)
	close(goOn)
	want := "200 " + "all"
	if got := x.answer(a); got != want {
		t.Errorf("answer %q, want %q", got, want)
	}
	x.rested(a)
	if got := endsOf(x.e.Stats(), x.host(), "r"); got.all != 1 || got.answered != 1 {
		t.Errorf("the route counts %+v", got)
	}
	from.Stop()
	x.e.Stop()
	return n
}

// answerInTwo answers each request, the first bytes when it is let begin and the others when it may go on.
func answerInTwo(conn net.Conn, p config.Protocol, cut int, come, begin, goOn chan bool, size chan int) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	var mu sync.Mutex
	partly := false
	for {
		b := []byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nall")
		if p == config.HTTP1 {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
		} else {
			m, err := readMessage(r)
			if err != nil {
				return
			}
			b = frame(0, m.id, "", []byte("all"))
		}
		come <- true
		go func() {
			<-begin
			mu.Lock()
			rest := b
			if !partly { // of one frame at a time
				_, _ = conn.Write(b[:cut])
				rest, partly = b[cut:], true
			}
			mu.Unlock()
			size <- len(b)
			<-goOn
			mu.Lock()
			defer mu.Unlock()
			if len(rest) == len(b) && cut > 0 {
				mu.Unlock()
				time.Sleep(time.Millisecond) // behind the rest of the other
				mu.Lock()
			}
			_, _ = conn.Write(rest)
		}()
	}
}

// TestHedgesHopUnderLoad mixes answers, refusals, resets and silence of endpoints with handovers, of which some are given up: each
// request has one answer, its end is counted once, and in the end nothing is held.
func TestHedgesHopUnderLoad(t *testing.T) {
	for protocol, p := range racing {
		t.Run(protocol, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 0))
			x := newTrack(t, p, 3, hedged(func(r *config.Route) { r.Attempts, r.Retry.PerTry = 4, slowFor/2 }))
			e, set := newEngine(t, 1, 2)
			if err := e.Apply(x.s); err != nil {
				t.Fatal(err)
			}
			e.Serve()
			now := generation{e, set, 1}
			go x.play(rand.New(rand.NewPCG(seed, 1)))
			stop := make(chan struct{})
			var wg sync.WaitGroup
			var total atomic.Int64
			for range 20 {
				wg.Go(func() { total.Add(int64(x.keepOn(stop))) })
			}
			wg.Go(func() { x.comeAndGo(stop, rand.New(rand.NewPCG(seed, 2))) })
			for i := range 6 {
				time.Sleep(time.Duration(50+rnd.IntN(150)) * time.Millisecond)
				if rnd.IntN(3) == 0 {
					aborted(t, now.Engine, func() { time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond) })
				}
				now = hop(t, now, 1+i%2, x.s)
			}
			time.Sleep(200 * time.Millisecond)
			close(stop)
			wg.Wait()
			x.e = now.Engine
			defer now.Stop()
			x.rested()
			s := now.Stats()
			n := endsOf(s, x.host(), "r")
			t.Logf("%d requests, %d tries more, %d hedges, %d won, %d late; %+v", total.Load(), s.Retried, s.Hedged, s.HedgesWon, s.Late, n)
			allEnded(t, s, s.Requests[config.Outbound])
			if n.all < uint64(total.Load()) || s.Hedged == 0 || s.HedgesWon == 0 {
				t.Errorf("the ends of %d requests are counted, clients that stay asked %d; %d hedges, %d won", n.all, total.Load(), s.Hedged, s.HedgesWon)
			}
		})
	}
}

// play lets endpoints do something at random.
func (x *race) play(rnd *rand.Rand) {
	for s := range x.shots {
		what, after := "ok", time.Duration(rnd.IntN(40))*time.Millisecond
		switch n := rnd.IntN(100); {
		case n < 3:
			what = "reset"
		case n < 10:
			what = "busy"
		case n < 30:
			after += slowFor
		}
		time.AfterFunc(after, func() { s.do <- what })
	}
}

// comeAndGo sends requests and leaves before they are answered, sometimes.
func (x *race) comeAndGo(stop chan struct{}, rnd *rand.Rand) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rnd.IntN(2 * int(slowFor)))):
		}
		a := x.ask()
		select {
		case <-a.answers:
		case <-time.After(time.Duration(rnd.IntN(int(slowFor)))):
		}
		a.leave()
	}
}

// keepOn asks until stop, one request after the other on one connection, and returns how many there were. Each has to get one answer.
func (x *race) keepOn(stop chan struct{}) (n int) {
	ask := x.asker()
	for ; ; n++ {
		select {
		case <-stop:
			return n
		default:
		}
		if err := ask(uint32(n)); err != nil {
			x.t.Errorf("request %d: %v", n, err)
			return n + 1
		}
	}
}

// asker returns what asks and waits for the answer.
func (x *race) asker() func(n uint32) error {
	if !x.rpc() {
		c := web(x.addr)
		if x.p == config.HTTP2 {
			c = web2(x.t, x.addr)
		}
		return func(uint32) error {
			res, err := c.Get("http://shop.demo/")
			if err != nil {
				if x.p == config.HTTP2 && strings.Contains(err.Error(), "INTERNAL_ERROR") { // a reset that is not retried is passed on
					return nil
				}
				return err
			}
			defer func() { _ = res.Body.Close() }()
			_, err = io.Copy(io.Discard, res.Body)
			return err
		}
	}
	conn, err := net.Dial("tcp", x.addr.String())
	if err != nil {
		return func(uint32) error { return err }
	}
	x.t.Cleanup(func() { _ = conn.Close() })
	r := bufio.NewReader(conn)
	return func(n uint32) error {
		raw := frame(1, n, echoService, []byte("a body"))
		if x.p == config.Dubbo {
			raw = dubboFrame(flagRequest, 0, uint64(n), dubboCall(echoDubbo, "pay", []byte("a body")))
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Write(raw); err != nil {
			return err
		}
		m, d, err := x.read(r)
		if got := uint64(m.id) + d.id; err == nil && got != uint64(n) {
			err = fmt.Errorf("an answer to %d", got)
		}
		return err
	}
}
