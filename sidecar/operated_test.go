package main

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	"github.com/axlemesh/axle/hack/testport"
)

func TestPodStory(t *testing.T) {
	p := newPod(t)
	g1 := p.serve()
	p.opens(1)
	l := newClients(t, p.port, 10)
	l.progress()

	g2 := p.inject(2)
	p.phase(2, controlv1.State_STARTING)
	time.Sleep(100 * time.Millisecond) // a candidate waits for begin
	if !strings.Contains(get(p.meshAPI, "/state"), `"generation":1`) {
		t.Errorf("generation 1 does not serve any more: %s", get(p.meshAPI, "/state"))
	}
	p.want(&controlv1.Desired{Generation: 2, Predecessor: 1, Begin: true, HandoverKey: []byte("one-time")})
	if code := g1.exit(); code != 0 {
		t.Errorf("generation 1 exited with %d", code)
	}
	p.phase(2, controlv1.State_SERVING)
	done := func(r *controlv1.Report) bool {
		h := r.GetHandover()
		return h.GetOk() && h.GetFrom() == 1 && h.GetTo() == 2 && h.GetMoved() == 20 && h.GetLost() == 0
	}
	p.says(1, "the handover", done)
	p.says(2, "the handover", done)
	p.says(1, "that its ports are open to the end", func(r *controlv1.Report) bool {
		return r.GetState().GetPhase() == controlv1.State_HANDING_OVER && len(r.GetState().GetListening()) == 1
	})
	l.progress()

	p.want(&controlv1.Desired{Generation: 2, Leave: true})
	p.phase(2, controlv1.State_LEAVING)
	eventually(t, "clients can see it", func() bool { return strings.Contains(get(p.meshAPI, "/state"), `"leaving"`) })
	l.progress()
	l.stop()
	if code := g2.exit(); code != 0 {
		t.Errorf("generation 2 exited with %d", code)
	}
	p.phase(2, controlv1.State_LEFT)
}

func TestCrashOfTheProxyWithoutAnOperator(t *testing.T) {
	p := newPod(t)
	g1 := p.serve()
	p.opens(1)
	p.grpc.Stop() // nobody can say now what to serve
	before := childOf(t, g1.cmd.Process.Pid)
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l := newClients(t, p.port, 5) // these connections wait in the backlog that the supervisor keeps
	l.progress()
	if after := childOf(t, g1.cmd.Process.Pid); after == before {
		t.Errorf("the child is still %d", after)
	}
	eventually(t, "local endpoints are back", func() bool { return strings.Contains(get(p.meshAPI, "/state"), `"serving"`) })
	p.up()
	eventually(t, "the channel is back with the kept credential", func() bool {
		return strings.Contains(get(p.admin, "/metrics"), "axle_operator_connected 1")
	})
	l.progress()
	l.stop()
}

func TestFailedHandoverInAPod(t *testing.T) {
	p := newPod(t)
	g1 := p.serve()
	p.opens(1)
	l := newClients(t, p.port, 10)
	l.progress()
	g2 := p.inject(2)
	p.phase(2, controlv1.State_STARTING)
	p.keys[2] = []byte("another key")
	p.want(&controlv1.Desired{Generation: 2, Predecessor: 1, Begin: true, HandoverKey: []byte("one-time")})
	if code := g2.exit(); code != 10 {
		t.Errorf("the candidate exited with %d, want 10", code)
	}
	p.says(2, "why", func(r *controlv1.Report) bool {
		h := r.GetHandover()
		return h != nil && !h.GetOk() && strings.Contains(h.GetReason(), "could not prove")
	})
	p.want(&controlv1.Desired{Generation: 1})
	l.progress()
	g3 := p.inject(3)
	p.phase(3, controlv1.State_STARTING)
	p.want(&controlv1.Desired{Generation: 3, Predecessor: 1, Begin: true, HandoverKey: []byte("one-time too")})
	p.phase(3, controlv1.State_SERVING)
	if code := g1.exit(); code != 0 {
		t.Errorf("generation 1 exited with %d", code)
	}
	l.progress()
	l.stop()
	if !g3.running() {
		t.Error("generation 3 is gone")
	}
}

// TestTheLastGoodVersionMoves: a listener whose newest version both generations reject stays open at the last good one.
func TestTheLastGoodVersionMoves(t *testing.T) {
	p := newPod(t)
	g1 := p.serve()
	spare := testport.Free(t)
	p.listen(spare, p.app.port)
	reaches := func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", spare))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
	eventually(t, "a second port", reaches)
	const unknown = "envoy.filters.network.tcp_proxy"
	p.offer(inboundListener(spare, unknown, nil))
	rejected := func() bool { return strings.Contains(get(p.admin, "/config_dump"), unknown) }
	eventually(t, "it is rejected", rejected)
	l := newClients(t, spare, 10)
	l.progress()
	p.inject(2)
	p.phase(2, controlv1.State_STARTING)
	p.want(&controlv1.Desired{Generation: 2, Predecessor: 1, Begin: true, HandoverKey: []byte("one-time")})
	p.phase(2, controlv1.State_SERVING)
	if code := g1.exit(); code != 0 {
		t.Errorf("generation 1 exited with %d", code)
	}
	eventually(t, "generation 2 rejects it, too", rejected)
	time.Sleep(300 * time.Millisecond) // it applies what it was told
	if !reaches() {
		t.Error("the port is closed")
	}
	l.progress()
	l.stop()
}

func TestCandidateOfADeadPredecessor(t *testing.T) {
	p := newPod(t)
	g1 := p.serve()
	g2 := p.inject(2)
	p.phase(2, controlv1.State_STARTING)
	if err := g1.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	g1.exit()
	p.want(&controlv1.Desired{Generation: 2}) // the controller has seen it
	p.phase(2, controlv1.State_SERVING)
	p.opens(2)
	l := newClients(t, p.port, 3)
	l.progress()
	l.stop()
	if !g2.running() {
		t.Error("generation 2 is gone")
	}
}

func TestPodIsDeleted(t *testing.T) {
	p := newPod(t)
	g1 := p.serve()
	p.opens(1)
	l := newClients(t, p.port, 3)
	l.progress()
	g1.signal(syscall.SIGTERM)
	time.Sleep(500 * time.Millisecond)
	l.progress() // the application has not ended yet
	if !strings.Contains(get(p.meshAPI, "/state"), `"serving"`) {
		t.Errorf("it stopped serving before the application: %s", get(p.meshAPI, "/state"))
	}
	l.stop()
	_ = p.app.l.Close()
	if code := g1.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.phase(1, controlv1.State_LEFT)
}
