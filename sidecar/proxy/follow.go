package proxy

import "github.com/axlemesh/axle/sidecar/config"

// reassign has the clients that are there go where their listeners send everything now. Nobody waits for them to leave: one that
// keeps its connection would ask the old cluster for as long as it lives, or for nothing when that is gone.
func (w *worker) reassign(all []config.Listener) {
	before, changed := w.listeners, false
	w.listeners = make(map[string]*config.Listener, len(all))
	for i := range all {
		l := &all[i]
		w.listeners[l.Name] = l
		old := before[l.Name]
		changed = changed || old == nil || old.Cluster != l.Cluster || old.Protocol != l.Protocol
	}
	if !changed {
		return
	}
	known := map[*config.Listener]*config.Listener{}
	move := func(from **config.Listener, fixed **cluster) {
		now := known[*from]
		if now == nil {
			now = w.current(*from)
			known[*from] = now
		}
		if now != *from {
			*from, *fixed = now, nil
		}
	}
	for _, d := range w.downs {
		move(&d.from, &d.fixed)
	}
	for _, c := range w.clients {
		move(&c.from, &c.fixed)
	}
	for _, c := range w.http2.clients {
		move(&c.from, &c.fixed)
	}
}

// current is a client's listener with the cluster that the configuration in force has for it. The rest stays as it was when the
// client came: its protocol has been told then, and its direction is what it is counted under. Where the listener is gone or
// speaks another protocol now, all of it stays.
func (w *worker) current(from *config.Listener) *config.Listener {
	now := w.listeners[from.Name]
	if now == nil || now.Cluster == from.Cluster || now.Protocol != from.Protocol && now.Protocol != config.Auto {
		return from
	}
	next := *from
	next.Cluster = now.Cluster
	return &next
}
