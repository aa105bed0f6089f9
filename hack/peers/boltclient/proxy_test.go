package boltclient

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/axlemesh/axle/hack/peers/wire"
)

// meddler sits between client and server and does what a bad proxy does, once it has been told to.
type meddler struct {
	ln      net.Listener
	target  string
	armed   atomic.Bool
	meddle  func(m *meddler, c net.Conn, f wire.Frame) []byte
	mu      sync.Mutex
	clients []net.Conn
}

func startMeddler(t *testing.T, target string, meddle func(m *meddler, c net.Conn, f wire.Frame) []byte) *meddler {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meddler{ln: ln, target: target, meddle: meddle}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			m.mu.Lock()
			m.clients = append(m.clients, c)
			m.mu.Unlock()
			work.Go(func() { m.pass(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		m.mu.Lock()
		for _, c := range m.clients {
			_ = c.Close()
		}
		m.mu.Unlock()
		work.Wait()
	})
	return m
}

// pass forwards requests as they are and answers through meddle, which acts once for each time it is armed.
func (m *meddler) pass(c net.Conn) {
	defer c.Close()
	up, err := net.Dial("tcp", m.target)
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		_, _ = io.Copy(up, c)
		_ = up.Close()
	}()
	in := wire.NewReader(up)
	for {
		f, err := in.Next()
		if err != nil {
			return
		}
		out := wire.Append(nil, f)
		if f.Command == wire.Answer && m.armed.CompareAndSwap(true, false) {
			out = m.meddle(m, c, f)
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// What a bad proxy does to one answer.
var (
	drop    = func(*meddler, net.Conn, wire.Frame) []byte { return nil }
	forward = func(_ *meddler, _ net.Conn, f wire.Frame) []byte { return wire.Append(nil, f) }
	double  = func(_ *meddler, _ net.Conn, f wire.Frame) []byte {
		return append(wire.Append(nil, f), wire.Append(nil, f)...)
	}
	corrupt = func(_ *meddler, _ net.Conn, f wire.Frame) []byte {
		f.Content = bytes.Clone(f.Content)
		f.Content[len(f.Content)/2] ^= 1
		return wire.Append(nil, f)
	}
	refuse = func(_ *meddler, _ net.Conn, f wire.Frame) []byte {
		return wire.Append(nil, wire.Frame{Kind: wire.Response, Command: wire.Answer, ID: f.ID, Status: 4})
	}
	mixUp = func(_ *meddler, _ net.Conn, f wire.Frame) []byte {
		r, _ := wire.ParseReplyContent(f.Content)
		r.Seq++
		f.Content = wire.AppendReplyContent(nil, r, nil)
		return wire.Append(nil, f)
	}
	invent = func(_ *meddler, _ net.Conn, f wire.Frame) []byte {
		g := f
		g.ID += 1 << 20
		return append(wire.Append(nil, f), wire.Append(nil, g)...)
	}
	reset = func(_ *meddler, c net.Conn, _ wire.Frame) []byte {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
		return nil
	}
	hangUp = func(_ *meddler, c net.Conn, f wire.Frame) []byte {
		_, _ = c.Write(wire.Append(nil, f))
		_ = c.Close()
		return nil
	}
)
