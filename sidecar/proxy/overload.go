package proxy

import (
	"bytes"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/overload"
)

// priorities is how many there are.
const priorities = int(config.PriorityHigh-config.PriorityLow) + 1

// whole is one priority, of those that are shed.
const whole = 1 << 16

// retryAfter is how many seconds an HTTP client that was turned away should wait.
const retryAfter = 1

// Connections that an overload closes have had nothing to do for so long: towards endpoints that costs a new one, and a
// client may just be sending a request. One that does not read has taken nothing for so long.
const (
	idleEndpoint = time.Second
	idleClient   = 5 * time.Second
	stuckClient  = 30 * time.Second
)

// Relieve does what an overload asks for. It returns at once; loops close what is idle when they come to it.
func (e *Engine) Relieve(a overload.Actions) {
	e.refusing.Store(a.Refuse)
	e.shedding.Store(int32((float64(a.Least.Index()) + a.Easing) * whole))
	if !a.CloseIdle {
		return
	}
	for _, w := range e.workers {
		w.loop.Post(w.closeIdle)
	}
}

// Busy returns a meter of the part of its time that the busiest loop has worked since the meter was asked last; from one
// goroutine.
func (e *Engine) Busy() func(now time.Duration) float64 {
	last, idle := e.options.Clock(), make([]time.Duration, len(e.workers))
	for i, w := range e.workers {
		idle[i] = w.loop.Idle(last)
	}
	return func(now time.Duration) (most float64) {
		for i, w := range e.workers {
			total := w.loop.Idle(now)
			if now > last {
				most = max(most, 1-float64(total-idle[i])/float64(now-last))
			}
			idle[i] = total
		}
		last = now
		return min(most, 1)
	}
}

// sheds leaves a request out that is among the lowest priorities, n of them in parts of whole: of the last one, chance decides.
// What is answered here anyway, and what asks whether somebody is well, is not left out.
func (w *worker) sheds(to *goal, n int) bool {
	at := to.priority.Index()
	if at*whole >= n || to.cluster == nil || to.probe {
		return false
	}
	if (at+1)*whole > n {
		if w.chance++; at*whole+int(mix(w.chance)%whole) >= n {
			return false
		}
	}
	w.count.Shed[at]++
	to.end(httpUnavailable, FailShed)
	return true
}

// grpcHealthPath is the method of gRPC's health checks.
const grpcHealthPath = "/grpc.health.v1.Health/Check"

// proberAgents are what the agents of health checks begin with: the kubelet's, Envoy's, and our own.
var proberAgents = [...][]byte{[]byte("kube-probe/"), []byte("Envoy/HC"), []byte("axle-health-check")}

// probes says that an HTTP request is a health check. Whoever only looks like one asks for nothing but GET.
func probes(method []byte, value func(name string) ([]byte, bool)) bool {
	if string(method) != "GET" && string(method) != "HEAD" {
		return false
	}
	agent, _ := value("user-agent")
	for _, prober := range proberAgents {
		if bytes.HasPrefix(agent, prober) {
			return true
		}
	}
	return false
}

// closeIdle closes what has nothing to do, and clients of HTTP/1 that read nothing of what they are sent: what waits for them is not
// bounded by a loop, as HTTP/2's is. Clients that speak Bolt or Dubbo stay: they take a connection that ends for an
// endpoint that has failed. So do undecided ones, which may be such. In a handover nothing is closed.
func (w *worker) closeIdle() {
	if w.moving || len(w.prepared) > 0 {
		return
	}
	now := w.loop.Now()
	for _, up := range w.webs {
		if up.x == nil && up.opened && up.idle.Left(now) <= restFor-idleEndpoint {
			w.count.IdleClosed++
			up.conn.Close(nil)
		}
	}
	for _, up := range w.ups {
		if up.opened && !up.leaving && up.load() == 0 && now-up.used >= idleEndpoint {
			w.count.IdleClosed++
			up.leave()
		}
	}
	for _, up := range w.http2.ups {
		if up.opened && !up.leaving && up.load() == 0 && now-up.used >= idleEndpoint {
			w.count.IdleClosed++
			up.leave()
		}
	}
	for _, c := range w.clients {
		if c.conn.Stalled() >= stuckClient {
			w.count.Slow++
			c.x.flag = FlagSlow
			c.conn.Close(loop.ErrSlow)
			continue
		}
		if !c.x.active && !c.over && c.seen == 0 && c.conn.Unsent() == 0 && now-c.rested >= idleClient {
			w.count.IdleClosed++
			c.conn.Close(nil)
		}
	}
	for _, c := range w.http2.clients {
		if !c.dead && c.proto.Streams() == 0 && now-c.rested >= idleClient {
			w.count.IdleClosed++
			c.dismiss()
		}
	}
}

// dismiss ends the connection of a client that has no stream, in order: what it has sent meanwhile it may send again.
func (c *http2Client) dismiss() {
	c.dead = true
	c.w.scratch = c.proto.AppendGoAway(c.w.scratch[:0], http2.NoError)
	c.conn.Write(c.w.scratch)
	c.conn.CloseAfterWrite()
}
