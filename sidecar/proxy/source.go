package proxy

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// peerOf is the address of a connection's other end: that of a PROXY header, where there was one. It is the zero value when the
// connection has none any more, or no IP address.
func peerOf(c *loop.Conn) netip.AddrPort {
	if c.Source != nil {
		return *c.Source
	}
	addr, err := unix.Getpeername(c.FD())
	if err != nil {
		return netip.AddrPort{}
	}
	switch a := addr.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// source is the hash of a client's IP address, worked out when it is first wanted. While a client's connection is with
// another process nobody knows it.
type source uint64

func (s *source) of(c *loop.Conn) uint64 {
	if *s == 0 && c != nil && !c.Closed() {
		*s = source(hashPeer(c))
	}
	return uint64(*s)
}

// hashPeer returns 0 for a connection that has no peer any more, or no IP address.
func hashPeer(c *loop.Conn) uint64 {
	if c.Source != nil {
		return upstream.Hash(c.Source.Addr().AsSlice())
	}
	addr, err := unix.Getpeername(c.FD())
	if err != nil {
		return 0
	}
	switch a := addr.(type) {
	case *unix.SockaddrInet4:
		return upstream.Hash(a.Addr[:])
	case *unix.SockaddrInet6:
		return upstream.Hash(a.Addr[:])
	}
	return 0
}

// In a handover, what PROXY headers have said goes ahead of the connections, as their accounts do: a build that does not know such
// relays drops them and takes the connections all the same, with the addresses that the kernel has.

// sourceVersion begins every relay of sources. A build drops those of a version that it does not know.
const sourceVersion = 1

// relaySources sends the sources of a batch ahead of it.
func (w *worker) relaySources(b *frozen) {
	var e encoder
	flush := func() {
		if len(e.b) > 0 && w.relay != nil {
			s := relayState{kind: relaySources, frame: e.b}
			w.relay(handover.Relay{Loop: w.index, Data: s.write()})
		}
		e.b = nil
	}
	for _, c := range b.conns {
		if c.Source == nil {
			continue
		}
		if len(e.b) == 0 {
			e.byte(sourceVersion)
		}
		e.uint(c.ID)
		if e.addr(*c.Source); len(e.b) >= maxRelayRecords {
			flush()
		}
	}
	flush()
}

// takeSources keeps sources until their connections come.
func (w *worker) takeSources(b []byte) {
	d := decoder{b: b}
	if d.byte() != sourceVersion {
		return
	}
	for len(d.b) > 0 && !d.bad {
		if id, at := d.uint(), d.addr(); !d.bad && at.IsValid() {
			w.sources[id] = &at
		}
	}
}

// sourced gives a connection that has moved its source.
func (w *worker) sourced(c *loop.Conn) {
	if c != nil {
		c.Source = w.sources[c.ID]
		delete(w.sources, c.ID)
	}
}
