package app

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/admin"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/meshapi"
	"github.com/axlemesh/axle/sidecar/proxy"
	"github.com/axlemesh/axle/sidecar/sockets"
	"github.com/axlemesh/axle/sidecar/xds"
)

// addPages prepares the local endpoints.
func (a *app) addPages() {
	n := a.boot.Node
	metrics := admin.NewRegistry(n.Version, a.Build, n.Generation, a.observe)
	if a.spans != nil {
		metrics.MustRegister(admin.Spans(func() proxy.Counters { return a.engine.Stats().Counters }))
	}
	a.front.add(sockets.Admin, a.boot.Admin, admin.Handler(admin.Config{
		Healthy: a.healthy, Ready: a.ready,
		Dump:        func() any { return a.dump() },
		Connections: func() any { return a.engine.Conns() },
		Clusters:    func() any { return a.engine.Clusters() },
		Metrics:     metrics,
		Level:       a.Level, Profile: a.Profile,
	}))
	a.front.add(sockets.MeshAPI, a.boot.MeshAPI, meshapi.Handler(a.meshState))
}

// healthy fails when a loop does not answer: it never returns then, and the probe times out.
func (a *app) healthy() error {
	a.engine.Turn()
	return nil
}

func (a *app) ready() error {
	a.mu.Lock()
	p := a.phase
	a.mu.Unlock()
	applied, failure := a.gate.status()
	switch {
	case p != serving && p != leaving && p != taking:
		return errors.New("phase: " + p.String())
	case applied != nil && len(applied.Listeners) > 0:
		return shut(applied.Listeners)
	case failure != nil:
		return failure
	}
	return errors.New("not configured yet")
}

// shut is an error when no listener can serve yet.
func shut(all []config.Listener) error {
	for _, l := range all {
		if !l.TLS.Shut() {
			return nil
		}
	}
	return fmt.Errorf("listener %q waits for %s", all[0].Name, strings.Join(all[0].TLS.Waiting, ", "))
}

func (a *app) meshState() meshapi.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := meshapi.State{State: meshapi.Serving, Version: a.boot.Node.Version, Generation: a.boot.Node.Generation}
	if a.phase == leaving || a.phase == over && !a.gave {
		s.State = meshapi.Leaving
	}
	return s
}

func (a *app) observe() admin.Observed {
	o := admin.Observed{Stats: a.engine.Stats(), Adaptive: a.engine.Adaptive(), Connected: -1}
	a.mu.Lock()
	o.Handovers, o.Overload = a.handovers, a.overload
	a.mu.Unlock()
	if a.control != nil {
		o.Connected = 0
		if a.control.Connected() {
			o.Connected = 1
		}
	}
	return o
}

// dumped is the config dump. It has what is public of the bootstrap, and no key, token or credential.
type dumped struct {
	Build    string             `json:"build"`
	Phase    string             `json:"phase"`
	Node     bootstrap.Node     `json:"node"`
	Operator string             `json:"operator,omitempty"`
	Sockets  map[string]string  `json:"sockets"`
	Tracing  *bootstrap.Tracing `json:"tracing,omitempty"`
	// Applied is in force. Failure says why a later configuration is not.
	Applied *config.Snapshot `json:"applied,omitempty"`
	Failure string           `json:"failure,omitempty"`
	XDS     *xds.Status      `json:"xds,omitempty"`
}

func (a *app) dump() dumped {
	applied, failure := a.gate.status()
	d := dumped{Build: a.Build, Node: a.boot.Node, Tracing: a.boot.Tracing, Sockets: make(map[string]string), Applied: applied}
	a.mu.Lock()
	d.Phase = a.phase.String()
	a.mu.Unlock()
	if applied != nil {
		d.Tracing = cmp.Or(applied.Tracing, d.Tracing)
	}
	if failure != nil {
		d.Failure = failure.Error()
	}
	for _, s := range a.set.All() {
		d.Sockets[s.Key] = a.set.Addr(s.Key)
	}
	if a.xds != nil {
		st := a.xds.Status()
		d.Operator, d.XDS = a.boot.Operator.Address, &st
	}
	return d
}
