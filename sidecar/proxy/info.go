package proxy

import (
	"cmp"
	"slices"

	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
)

// rpcNames are the protocols of those connections that multiplex.
var rpcNames = map[config.Protocol]string{config.Bolt: "bolt", config.Dubbo: "dubbo"}

// undecided is the protocol of those that have not shown theirs.
const undecided = "undecided"

// conns describes the connections of one worker, oldest first.
func (w *worker) conns() []ConnInfo {
	var all []ConnInfo
	for _, d := range w.downs {
		if d.conn != nil {
			all = append(all, w.info(d.conn, ConnInfo{Kind: "downstream", Protocol: rpcNames[d.from.Protocol], Listener: d.from.Name}))
		}
	}
	for _, s := range w.shakes.all {
		if s.from != nil {
			is := "handshake"
			if s.context == nil && s.from.Protocol == config.Auto { // it came so, and nothing is expected of it
				is = undecided
			}
			all = append(all, w.info(s.conn, ConnInfo{Kind: "downstream", Protocol: is, Listener: s.from.Name}))
		}
	}
	for _, o := range w.shakes.undecided {
		all = append(all, w.info(o.conn, ConnInfo{Kind: "downstream", Protocol: undecided, Listener: o.from.Name}))
	}
	for _, up := range w.ups {
		all = append(all, w.info(up.conn, ConnInfo{
			Kind: "upstream", Protocol: rpcNames[up.protocol], Cluster: up.cluster.name, Endpoint: address.String(up.host.Addr), Waiting: up.slots.Len(),
		}))
	}
	for _, p := range w.pairs {
		all = append(all, w.info(p.down, ConnInfo{Kind: "downstream", Protocol: "tcp", Listener: p.from.Name}))
		if p.up != nil {
			all = append(all, w.info(p.up, ConnInfo{Kind: "upstream", Protocol: "tcp", Endpoint: address.String(p.addr)}))
		}
	}
	for _, c := range w.clients {
		all = append(all, w.info(c.conn, ConnInfo{Kind: "downstream", Protocol: "http1", Listener: c.from.Name}))
	}
	for _, up := range w.webs {
		i := ConnInfo{Kind: "upstream", Protocol: "http1", Cluster: up.cluster.name, Endpoint: address.String(up.host.Addr)}
		if up.x != nil {
			i.Waiting = 1
		}
		all = append(all, w.info(up.conn, i))
	}
	for _, c := range w.http2.clients {
		all = append(all, w.info(c.conn, ConnInfo{Kind: "downstream", Protocol: "http2", Listener: c.from.Name}))
	}
	for _, up := range w.http2.ups {
		all = append(all, w.info(up.conn, ConnInfo{
			Kind: "upstream", Protocol: "http2", Cluster: up.cluster.name, Endpoint: address.String(up.host.Addr), Waiting: up.load(),
		}))
	}
	for _, m := range w.mirrorConns {
		all = append(all, w.info(m.conn, ConnInfo{
			Kind: "mirror", Protocol: "http1", Cluster: m.to.mirror.name, Endpoint: address.String(m.host.Addr),
		}))
	}
	for _, m := range w.http2.copies.conns {
		all = append(all, w.info(m.conn, ConnInfo{
			Kind: "mirror", Protocol: "http2", Cluster: m.cluster.name, Endpoint: m.host.Addr.String(), Waiting: m.open,
		}))
	}
	slices.SortFunc(all, func(a, b ConnInfo) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

func (w *worker) info(c *loop.Conn, i ConnInfo) ConnInfo {
	i.ID, i.Loop, i.Unsent, i.Frozen, i.Connected = c.ID, w.index, c.Unsent(), c.Frozen(), c.Open()
	i.RxBytes, i.TxBytes = c.Totals()
	if s, ok := c.Cipher().(*secured); ok {
		i.TLS = s.String()
	}
	return i
}
