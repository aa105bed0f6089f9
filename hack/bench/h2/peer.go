package h2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/net/http2/hpack"
)

// defaultTable is the size of a header table before anyone has said anything.
const defaultTable = 4096

// peer is what both ends of a connection know.
type peer struct {
	decoder *hpack.Decoder
	fields  *named // of the header block that was read last
	block   []byte // of a header block that goes on, where going says so
	going   bool
	open    frame // the frame that the block began with
	// table is the size of the other side's header table, window what may be sent to it on this connection, and each what
	// may be sent on a stream.
	table        uint32
	window, each int64
	taken        uint32 // bytes of content since the last grant
	settled      bool   // the other side has said its settings
}

// named are the headers that are looked at.
type named struct{ method, te, contentType, status, grpcStatus string }

func (n *named) set(f hpack.HeaderField) {
	switch f.Name {
	case ":method":
		n.method = f.Value
	case "te":
		n.te = f.Value
	case "content-type":
		n.contentType = f.Value
	case ":status":
		n.status = f.Value
	case "grpc-status":
		n.grpcStatus = f.Value
	}
}

func newPeer() peer {
	n := &named{}
	return peer{decoder: hpack.NewDecoder(defaultTable, n.set), fields: n, table: defaultTable, window: firstWindow, each: firstWindow}
}

// appendHello appends the settings and a wide window for the connection.
func appendHello(dst []byte) []byte {
	s := appendSetting(nil, enablePush, 0)
	s = appendSetting(s, maxStreams, streams)
	s = appendSetting(s, initialWindow, wide)
	dst = appendFrame(dst, settings, 0, 0, s...)
	return appendWindow(dst, 0, wide)
}

// connection handles what belongs to no request, and appends what has to be said in return.
func (p *peer) connection(f frame, dst []byte) ([]byte, error) {
	switch f.kind {
	case settings:
		if f.flags&ack != 0 {
			return dst, nil
		}
		for s := f.payload; len(s) >= 6; s = s[6:] {
			switch value := binary.BigEndian.Uint32(s[2:]); binary.BigEndian.Uint16(s) {
			case tableSize:
				p.table = min(value, defaultTable)
			case initialWindow:
				p.each = int64(value)
			}
		}
		p.settled = true
		return appendFrame(dst, settings, ack, 0), nil
	case ping:
		if f.flags&ack != 0 {
			return dst, nil
		}
		return appendFrame(dst, ping, ack, 0, f.payload...), nil
	case windowUpdate:
		if len(f.payload) != 4 {
			return dst, fmt.Errorf("a window of %d bytes: %w", len(f.payload), errFrame)
		}
		if f.stream == 0 {
			p.window += int64(binary.BigEndian.Uint32(f.payload) & 0x7fffffff)
		}
	}
	return dst, nil
}

// took grants the window of the connection again when half of it is used.
func (p *peer) took(n int, dst []byte) []byte {
	if p.taken += uint32(n); p.taken < wide/2 {
		return dst
	}
	dst = appendWindow(dst, 0, p.taken)
	p.taken = 0
	return dst
}

// header collects a header block. done says that it is complete and in fields; begin is the frame that it began with.
func (p *peer) header(f frame) (begin frame, done bool, err error) {
	switch {
	case p.going != (f.kind == continuation), p.going && f.stream != p.open.stream:
		return f, false, fmt.Errorf("header blocks are mixed up: %w", errFrame)
	case f.kind == headers:
		p.open, p.block = f, p.block[:0]
	}
	if p.block = append(p.block, f.payload...); len(p.block) > 2*maxFrame {
		return f, false, fmt.Errorf("a header block of %d bytes: %w", len(p.block), errFrame)
	}
	if p.going = f.flags&endHeaders == 0; p.going {
		return f, false, nil
	}
	*p.fields = named{}
	_, err = p.decoder.Write(p.block)
	if err = errors.Join(err, p.decoder.Close()); err != nil {
		return f, false, fmt.Errorf("header block: %w", err)
	}
	return p.open, true, nil
}

// blocks are header blocks that are always the same: as they are encoded for the first time, and ever after.
type blocks struct{ first, later [][]byte }

// encode makes the blocks of lists of names and values, for a peer with a header table of that size.
func encode(table uint32, lists ...[]hpack.HeaderField) (blocks, error) {
	var out bytes.Buffer
	enc := hpack.NewEncoder(&out)
	enc.SetMaxDynamicTableSize(table)
	round := func() ([][]byte, error) {
		var all [][]byte
		for _, list := range lists {
			out.Reset()
			for _, f := range list {
				if err := enc.WriteField(f); err != nil {
					return nil, fmt.Errorf("encode header %q: %w", f.Name, err)
				}
			}
			all = append(all, bytes.Clone(out.Bytes()))
		}
		return all, nil
	}
	first, err := round()
	if err != nil {
		return blocks{}, err
	}
	later, err := round()
	return blocks{first: first, later: later}, err
}

// take returns the blocks to be sent now.
func (b *blocks) take() [][]byte {
	if b.first == nil {
		return b.later
	}
	now := b.first
	b.first = nil
	return now
}
