package proxy_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/hack/testport"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
	"github.com/axlemesh/axle/sidecar/sockets"
)

// The peers of these tests speak Bolt by themselves, so that a fault of our codec cannot hide.

// frame is a Bolt request of service and body, or, with kind 0, a response.
func frame(kind byte, id uint32, service string, body []byte) []byte {
	var header []byte
	if service != "" {
		header = binary.BigEndian.AppendUint32(header, 7)
		header = append(header, "service"...)
		header = binary.BigEndian.AppendUint32(header, uint32(len(service)))
		header = append(header, service...)
	}
	cmd := byte(1)
	if kind == 0 {
		cmd = 2
	}
	b := []byte{1, kind, 0, cmd, 1}
	b = binary.BigEndian.AppendUint32(b, id)
	b = append(b, 12)
	if kind == 0 {
		b = binary.BigEndian.AppendUint16(b, 0)
	} else {
		b = binary.BigEndian.AppendUint32(b, 5000)
	}
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(header)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(append(b, header...), body...)
}

type message struct {
	kind   byte
	cmd    uint16
	id     uint32
	status uint16
	body   []byte
}

func readMessage(r *bufio.Reader) (m message, err error) {
	head, err := r.Peek(2)
	if err != nil {
		return m, err
	}
	size := 22
	if head[1] == 0 {
		size = 20
	}
	b := make([]byte, size)
	if _, err = io.ReadFull(r, b); err != nil {
		return m, err
	}
	m.kind, m.cmd, m.id = b[1], binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[5:])
	if m.kind == 0 {
		m.status = binary.BigEndian.Uint16(b[10:])
	}
	class, header := binary.BigEndian.Uint16(b[size-8:]), binary.BigEndian.Uint16(b[size-6:])
	rest := make([]byte, int(class)+int(header)+int(binary.BigEndian.Uint32(b[size-4:])))
	_, err = io.ReadFull(r, rest)
	m.body = rest[int(class)+int(header):]
	return m, err
}

// server answers every request with its body, after delay, and counts.
type server struct {
	addr      netip.AddrPort
	requests  atomic.Int64
	conns     atomic.Int64
	oneways   atomic.Int64
	delay     func(n int64) time.Duration
	listener  net.Listener
	closeWith atomic.Bool // close each connection at its next request
}

func serve(t *testing.T, delay func(n int64) time.Duration) *server {
	t.Helper()
	ln := listenTCP(t)
	return serveOn(ln, ln.Addr().(*net.TCPAddr).AddrPort(), delay)
}

func serveOn(ln net.Listener, addr netip.AddrPort, delay func(n int64) time.Duration) *server {
	s := &server{addr: addr, delay: delay, listener: ln}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			go s.handle(conn)
		}
	}()
	return s
}

func (s *server) handle(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	var mu sync.Mutex
	r := bufio.NewReader(conn)
	for {
		m, err := readMessage(r)
		if err != nil || s.closeWith.Load() {
			return
		}
		if m.kind == 2 {
			s.oneways.Add(1)
			continue
		}
		n := s.requests.Add(1)
		reply := func() {
			mu.Lock()
			defer mu.Unlock()
			_, _ = conn.Write(frame(0, m.id, "", m.body))
		}
		if s.delay == nil {
			reply()
			continue
		}
		time.AfterFunc(s.delay(n), reply)
	}
}

// nobody is an address at which nobody listens, nor will: the port is taken until the test ends.
func nobody(t testing.TB) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(at.(*unix.SockaddrInet4).Port))
}

// freePort is an address that nobody listens at now.
func freePort(t testing.TB) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(testport.Free(t)))
}

// newEngine is a running engine of one generation.
func newEngine(t testing.TB, generation int64, loops int) (*proxy.Engine, *sockets.Set) {
	t.Helper()
	set := &sockets.Set{}
	t.Cleanup(set.Release)
	start := time.Now()
	clock := func() time.Duration { return time.Since(start) }
	log := testLog(t, clock)
	e, err := proxy.New(proxy.Options{
		Loops: loops, Generation: generation, Sockets: set, NodeID: "test", Tracing: tracingOf(), AccessLog: log, Clock: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	if log != nil {
		go log.Run()
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	return e, set
}

const echoService = "com.example.Echo:1.0"

// toConnect is the time that endpoints have for it, long enough for a busy machine.
const toConnect = 20 * time.Second

// snapshot routes echoService from addr to the servers.
func snapshot(addr netip.AddrPort, servers ...*server) *config.Snapshot {
	c := &config.Cluster{Name: "echo", Connections: 1, ConnectTimeout: toConnect}
	for _, s := range servers {
		c.Endpoints = append(c.Endpoints, s.addr)
	}
	if len(servers) == 2 && servers[0].addr.Compare(servers[1].addr) > 0 {
		c.Endpoints[0], c.Endpoints[1] = c.Endpoints[1], c.Endpoints[0]
	}
	return &config.Snapshot{
		Listeners: []config.Listener{{Name: "out", Address: addr, Protocol: config.Bolt, Direction: config.Outbound}},
		Hosts: map[string]*config.Host{
			echoService: {Name: echoService, Routes: []config.Route{{Name: "default", Cluster: "echo"}}},
		},
		Clusters: map[string]*config.Cluster{"echo": c},
	}
}

// client is one connection that counts what it asked and what it got. It never retries.
type client struct {
	conn net.Conn
	mu   sync.Mutex
	open map[uint32][]byte
	next uint32
	err  error
	got  int
	done chan struct{}
	// lenient clients take an error for an answer.
	lenient bool
}

func dial(t *testing.T, addr netip.AddrPort) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{conn: conn, open: map[uint32][]byte{}, done: make(chan struct{})}
	go c.read()
	return c
}

func (c *client) read() {
	defer close(c.done)
	r := bufio.NewReader(c.conn)
	for {
		m, err := readMessage(r)
		if errors.Is(err, io.EOF) && len(c.open) == 0 || errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			err = c.take(m)
		}
		if err != nil {
			c.mu.Lock()
			c.err = errors.Join(c.err, err)
			c.mu.Unlock()
			return
		}
	}
}

func (c *client) take(m message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	want, ok := c.open[m.id]
	delete(c.open, m.id)
	c.got++
	switch {
	case !ok:
		return fmt.Errorf("an answer to %d, which is not open", m.id)
	case m.status != 0 && c.lenient:
	case m.status != 0:
		return fmt.Errorf("request %d: status %d", m.id, m.status)
	case string(want) != string(m.body):
		return fmt.Errorf("request %d: got %d bytes %.20q, want %d", m.id, len(m.body), m.body, len(want))
	}
	return nil
}

// ask sends one request; the answer is checked when it comes.
func (c *client) ask(body []byte) error {
	c.mu.Lock()
	c.next++
	id := c.next
	c.open[id] = body
	c.mu.Unlock()
	_, err := c.conn.Write(frame(1, id, echoService, body))
	return err
}

func (c *client) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// settle waits until every request has its answer.
func (c *client) settle(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); c.waiting() > 0 && time.Now().Before(deadline); {
		select {
		case <-c.done:
		default:
			time.Sleep(time.Millisecond)
			continue
		}
		break
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || len(c.open) > 0 {
		t.Errorf("%v: %d answers, %d requests without one, %v", c.conn.LocalAddr(), c.got, len(c.open), c.err)
	}
}
