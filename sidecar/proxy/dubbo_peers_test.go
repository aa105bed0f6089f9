package proxy_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// The peers of these tests speak Dubbo by themselves, so that a fault of our codec cannot hide.

// Flags of a Dubbo frame with a body in hessian2.
const (
	flagRequest  = 0xc2
	flagOneway   = 0x82
	flagResponse = 0x02
	flagAsk      = 0xe2 // a heartbeat
	flagAck      = 0x22
	flagNews     = 0xa2
)

func dubboFrame(flags, status byte, id uint64, body []byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte{0xda, 0xbb, flags, status}, id)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(body))), body...)
}

// hessian is a string of up to 1023 ASCII characters.
func hessian(s string) string {
	if len(s) < 0x20 {
		return string(rune(len(s))) + s
	}
	return string([]byte{0x30 + byte(len(s)>>8), byte(len(s))}) + s
}

// dubboCall is the body of a request whose one argument are bytes; service is "interface[:version][@group]".
func dubboCall(service, method string, arg []byte, attachments ...string) []byte {
	name, group, _ := strings.Cut(service, "@")
	name, version, ok := strings.Cut(name, ":")
	if !ok {
		version = "0.0.0" // as Java does
	}
	body := []byte(hessian("2.0.2") + hessian(name) + hessian(version) + hessian(method) + hessian("[B"))
	for len(arg) > 0xffff {
		body = append(append(body, 'A', 0xff, 0xff), arg[:0xffff]...)
		arg = arg[0xffff:]
	}
	body = append(append(body, 'B', byte(len(arg)>>8), byte(len(arg))), arg...)
	body = append(body, 'H')
	attachments = append(attachments, "path", name)
	if group != "" {
		attachments = append(attachments, "group", group)
	}
	for _, s := range attachments {
		body = append(body, hessian(s)...)
	}
	return append(body, 'Z')
}

type dubboMessage struct {
	flags, status byte
	id            uint64
	body          []byte
}

func readDubbo(r io.Reader) (m dubboMessage, err error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(r, head); err != nil {
		return m, err
	}
	if head[0] != 0xda || head[1] != 0xbb {
		return m, fmt.Errorf("a frame that begins % x", head)
	}
	m = dubboMessage{head[2], head[3], binary.BigEndian.Uint64(head[4:]), make([]byte, binary.BigEndian.Uint32(head[12:]))}
	_, err = io.ReadFull(r, m.body)
	return m, err
}

// dubboServer answers every request with its own body behind its name.
func dubboServer(t *testing.T, name string, delay func(id uint64) time.Duration) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serveDubbo(conn, name, delay)
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func serveDubbo(conn net.Conn, name string, delay func(id uint64) time.Duration) {
	defer func() { _ = conn.Close() }()
	var mu sync.Mutex
	r := bufio.NewReader(conn)
	for {
		m, err := readDubbo(r)
		if err != nil {
			return
		}
		answer := func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			_, _ = conn.Write(b)
		}
		switch {
		case m.flags&0x20 != 0:
			answer(dubboFrame(flagAck, 20, m.id, m.body))
		case m.flags&0x40 == 0:
		case delay == nil:
			answer(dubboFrame(m.flags&0x1f, 20, m.id, append([]byte(name), m.body...)))
		default:
			time.AfterFunc(delay(m.id), func() { answer(dubboFrame(flagResponse, 20, m.id, append([]byte(name), m.body...))) })
		}
	}
}

const echoDubbo = "com.example.Echo:1.0@gray"

// dubboSnapshot routes echoDubbo from addr to a server.
func dubboSnapshot(addr, to netip.AddrPort) *config.Snapshot {
	return &config.Snapshot{
		Listeners: []config.Listener{{Name: "out", Address: addr, Protocol: config.Dubbo, Direction: config.Outbound}},
		Hosts: map[string]*config.Host{
			echoDubbo: {Name: echoDubbo, Routes: []config.Route{{Name: "default", Cluster: "echo"}}},
		},
		Clusters: map[string]*config.Cluster{"echo": {Name: "echo", Connections: 1, ConnectTimeout: toConnect, Endpoints: []netip.AddrPort{to}}},
	}
}

// dubboClient is one connection that counts what it asked and what it got. It never retries. Its ids need all 64 bits.
type dubboClient struct {
	conn net.Conn
	mu   sync.Mutex
	open map[uint64][]byte
	next uint64
	err  error
	got  int
	done chan struct{}
}

func dialDubbo(t *testing.T, addr netip.AddrPort, server string) *dubboClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &dubboClient{conn: conn, open: map[uint64][]byte{}, next: 0xfedcba9800000000, done: make(chan struct{})}
	go c.read(server)
	return c
}

func (c *dubboClient) read(server string) {
	defer close(c.done)
	r := bufio.NewReader(c.conn)
	for {
		m, err := readDubbo(r)
		c.mu.Lock()
		if errors.Is(err, io.EOF) && len(c.open) == 0 || errors.Is(err, net.ErrClosed) {
			c.mu.Unlock()
			return
		}
		want, ok := c.open[m.id]
		delete(c.open, m.id)
		c.got++
		switch body, named := bytes.CutPrefix(m.body, []byte(server)); {
		case err != nil:
		case !ok:
			err = fmt.Errorf("an answer to %x, which is not open", m.id)
		case m.status != 20 || !named || !bytes.Equal(body, want):
			err = fmt.Errorf("request %x: status %d, %d bytes %.40q", m.id, m.status, len(m.body), m.body)
		}
		c.err = errors.Join(c.err, err)
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// ask sends one request; the answer is checked when it comes.
func (c *dubboClient) ask(arg []byte) error {
	body := dubboCall(echoDubbo, "pay", arg)
	c.mu.Lock()
	c.next++
	id := c.next
	c.open[id] = body
	c.mu.Unlock()
	_, err := c.conn.Write(dubboFrame(flagRequest, 0, id, body))
	return err
}

func (c *dubboClient) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

func (c *dubboClient) settle(t *testing.T) {
	t.Helper()
	until(t, "every request has its answer", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err != nil || len(c.open) == 0
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		t.Errorf("%v: %d answers, %d requests without one, %v", c.conn.LocalAddr(), c.got, len(c.open), c.err)
	}
}
