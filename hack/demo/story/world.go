// Package story is the demo's plot: what happens in which order, what is looked at, and what makes it fail. It knows a
// cluster only through the interfaces below, so that it can be told to a test as well.
package story

import (
	"context"
	"slices"

	"github.com/axlemesh/axle/hack/peers/boltclient"
	"github.com/axlemesh/axle/hack/peers/boltserver"
	"github.com/axlemesh/axle/hack/peers/meshstate"
)

// Watcher looks at everything that the story is about.
type Watcher interface {
	Observe(ctx context.Context) (Observation, error)
}

// Operator is what the story asks of the mesh; each call returns at once.
type Operator interface {
	// Join labels the namespace; Leave takes the label away.
	Join(ctx context.Context) error
	Leave(ctx context.Context) error
	// Upgrade patches the fleet's version.
	Upgrade(ctx context.Context, version string) error
	// Scale gives a Deployment of another version of the application so many pods.
	Scale(ctx context.Context, pods int) error
	// Split applies a TrafficRule that sends this percentage of the requests to those pods.
	Split(ctx context.Context, percent int) error
}

// Load is what the story asks of the clients.
type Load interface {
	// Enter names the window that latencies are counted in from now on.
	Enter(ctx context.Context, window string) error
	// Pause stops sending and waits until nothing is in flight.
	Pause(ctx context.Context) error
}

// Observation is one look at everything.
type Observation struct {
	Pods []Pod // by name
	// Trouble is what the operator itself says is wrong; empty if nothing.
	Trouble string
	// RolledBack is what the operator says about a rollout that went back; empty if none did.
	RolledBack string
	// Programmed says that every sidecar has the TrafficRule.
	Programmed bool
}

// Pod is one application pod.
type Pod struct {
	Name string
	UID  string
	IP   string
	Node string
	// Container is the application container's ID; it changes when the container restarts. Restarts counts that.
	Container string
	Restarts  int
	Sidecars  []Sidecar
	// Added is true for a pod of the Deployment that is scaled up.
	Added bool
	// Ruled is true for a server of the service that the TrafficRule is about.
	Ruled bool
	// Mesh is what the application sees of its sidecar on localhost.
	Mesh meshstate.View
	// Client is set in client pods, Server in server pods.
	Client *Client
	Server *boltserver.Report
}

// slots says whether the pod was created with slots.
func (p Pod) slots() bool {
	return slices.ContainsFunc(p.Sidecars, func(c Sidecar) bool { return c.Slot })
}

// Client is what a client pod says.
type Client struct {
	boltclient.Report
	Connections []boltclient.Connection
}

// Sidecar is one sidecar container of a pod.
type Sidecar struct {
	Name    string
	Running bool
	// Slot is true for a native sidecar; it is never gone, only idle.
	Slot bool
	// ExitCode and Reason of one that has ended.
	Ended    bool
	ExitCode int
	Reason   string
}

// tally is the sum over all clients and servers.
type tally struct {
	requests, failed, resets, reconnects, duplicates int64
	sent, executed, badChecksums                     int64
	moves, returns                                   int64
	mesh, direct, connections                        int
	reasons                                          map[string]int64
}

func (o Observation) tally() tally {
	t := tally{reasons: map[string]int64{}}
	for _, p := range o.Pods {
		if c := p.Client; c != nil {
			t.requests += c.Requests
			t.failed += c.Failed
			t.resets += c.Resets
			t.reconnects += c.Reconnects
			t.duplicates += c.Duplicates
			t.sent += c.Sent + c.Oneways
			t.moves += c.Moves
			t.returns += c.Returns
			t.mesh += c.Via[boltclient.Mesh]
			t.direct += c.Via[boltclient.Direct]
			t.connections += len(c.Connections)
			for why, n := range c.Reasons {
				t.reasons[why] += n
			}
		}
		if s := p.Server; s != nil {
			t.executed += s.Requests + s.Oneways
			t.duplicates += s.Duplicates
			t.badChecksums += s.BadChecksums
		}
	}
	return t
}

// sockets are the local addresses of all connections by client and number.
func (o Observation) sockets() map[string]map[uint32]string {
	out := map[string]map[uint32]string{}
	for _, p := range o.Pods {
		if p.Client == nil {
			continue
		}
		m := map[uint32]string{}
		for _, c := range p.Client.Connections {
			m[c.Number] = c.Local
		}
		out[p.Name] = m
	}
	return out
}

// changedSockets counts the connections that are not the same sockets in both observations.
func changedSockets(before, after Observation) int {
	n := 0
	now := after.sockets()
	for pod, conns := range before.sockets() {
		for number, local := range conns {
			if now[pod][number] != local {
				n++
			}
		}
	}
	return n
}

// pod finds a pod by name.
func (o Observation) pod(name string) (Pod, bool) {
	for _, p := range o.Pods {
		if p.Name == name {
			return p, true
		}
	}
	return Pod{}, false
}
