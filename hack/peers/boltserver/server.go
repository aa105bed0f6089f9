// Package boltserver is a strict Bolt v1 server for tests, load and the demo: it recognises every message by its identity,
// checks its checksum, and notices when it gets one twice.
package boltserver

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/axlemesh/axle/hack/peers/ledger"
	"github.com/axlemesh/axle/hack/peers/wire"
)

// Config of a Server. The zero value answers at once, without a name, with an empty payload.
type Config struct {
	// Name is in every answer.
	Name string
	// Version is in the header map of every answer, so that a client can tell how its calls are split; empty for none.
	Version string
	// Delay is how long a request is worked on before it is answered. It keeps requests pending, so that something is
	// there to be lost.
	Delay time.Duration
	// SlowEvery lets one of so many requests take Slow instead; 0 none.
	SlowEvery int
	Slow      time.Duration
	// Payload is how many bytes an answer carries besides its identity.
	Payload int
}

// Report is what the server has seen since it started.
type Report struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// Requests that were answered and Oneways that were taken, each identity once.
	Requests int64 `json:"requests"`
	Oneways  int64 `json:"oneways"`
	// Heartbeats that were acknowledged.
	Heartbeats int64 `json:"heartbeats"`
	// Duplicates are messages whose identity had been seen before. They are answered, but not counted as requests.
	Duplicates int64 `json:"duplicates"`
	// BadChecksums are messages whose content is not what a client wrote.
	BadChecksums int64 `json:"badChecksums"`
	// Broken are connections that were closed because their bytes are not Bolt.
	Broken int64 `json:"broken"`
	// Resets are connections that ended otherwise than by a FIN between two frames.
	Resets int64 `json:"resets"`
	// Accepted connections since the start, and Active ones now.
	Accepted int64 `json:"accepted"`
	Active   int64 `json:"active"`
}

// Server answers Bolt requests. Make it with New.
type Server struct {
	cfg     Config
	payload []byte
	header  []byte
	seen    ledger.Ledger

	requests, oneways, heartbeats  atomic.Int64
	duplicates, badSums            atomic.Int64
	broken, resets, accepted, live atomic.Int64
	begun                          atomic.Int64 // requests, for SlowEvery

	mu     sync.Mutex
	closed bool
	ends   map[io.Closer]struct{}
	work   sync.WaitGroup
}

// New returns a server that has not been given a listener yet.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, payload: make([]byte, cfg.Payload), ends: map[io.Closer]struct{}{}}
	for i := range s.payload {
		s.payload[i] = byte('a' + i%26)
	}
	if cfg.Version != "" {
		s.header = wire.AppendPair(nil, wire.VersionKey, cfg.Version)
	}
	return s
}

// Serve accepts connections until Close; it then returns nil.
func (s *Server) Serve(ln net.Listener) error {
	if !s.track(ln) {
		return ln.Close()
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			if s.isClosed() {
				return nil
			}
			return err
		}
		if !s.track(c) {
			_ = c.Close()
			continue
		}
		s.accepted.Add(1)
		s.live.Add(1)
		s.work.Add(1)
		go s.connection(c)
	}
}

// Close ends every listener and connection and waits for their goroutines.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.ends {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
}

// Report returns the counters.
func (s *Server) Report() Report {
	return Report{
		Name:         s.cfg.Name,
		Version:      s.cfg.Version,
		Requests:     s.requests.Load(),
		Oneways:      s.oneways.Load(),
		Heartbeats:   s.heartbeats.Load(),
		Duplicates:   s.duplicates.Load(),
		BadChecksums: s.badSums.Load(),
		Broken:       s.broken.Load(),
		Resets:       s.resets.Load(),
		Accepted:     s.accepted.Load(),
		Active:       s.live.Load(),
	}
}

func (s *Server) track(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.ends[c] = struct{}{}
	return true
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// connection serves one client until it ends.
func (s *Server) connection(c net.Conn) {
	defer s.work.Done()
	defer s.live.Add(-1)
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.ends, c)
		s.mu.Unlock()
	}()
	out := &writer{conn: c}
	in := wire.NewReader(c)
	for {
		f, err := in.Next()
		if err != nil {
			s.ended(err)
			return
		}
		if !s.frame(f, out) {
			s.broken.Add(1)
			return
		}
		if !in.Buffered() {
			out.flush()
		}
	}
}

// ended counts how a connection ended.
func (s *Server) ended(err error) {
	var op *net.OpError
	switch {
	case errors.Is(err, io.EOF) || s.isClosed():
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op):
		s.resets.Add(1)
	default:
		s.broken.Add(1)
	}
}

// frame handles one frame; false ends the connection.
func (s *Server) frame(f wire.Frame, out *writer) bool {
	if f.Kind == wire.Response {
		return true // the acknowledgement of a heartbeat nobody sent does no harm
	}
	if f.Command == wire.Heartbeat {
		s.heartbeats.Add(1)
		out.add(wire.Frame{Kind: wire.Response, Command: wire.Heartbeat, ID: f.ID, Codec: f.Codec})
		return true
	}
	if f.Command != wire.Call {
		return false
	}
	id, sum, err := wire.ParseRequestContent(f.Content)
	if err != nil {
		s.badSums.Add(1)
		if f.Kind == wire.Request {
			out.add(wire.Frame{Kind: wire.Response, Command: wire.Answer, ID: f.ID, Codec: f.Codec, Status: statusCodec})
		}
		return true
	}
	fresh := s.seen.Add(id)
	switch {
	case !fresh:
		s.duplicates.Add(1)
	case f.Kind == wire.Oneway:
		s.oneways.Add(1)
	default:
		s.requests.Add(1)
	}
	if f.Kind == wire.Oneway {
		return true
	}
	reply := wire.Reply{Identity: id, RequestSum: sum, Server: s.cfg.Name}
	answer := wire.Frame{
		Kind: wire.Response, Command: wire.Answer, ID: f.ID, Codec: f.Codec,
		Class:   responseClass,
		Header:  s.header,
		Content: wire.AppendReplyContent(nil, reply, s.payload),
	}
	delay := s.cfg.Delay
	if s.cfg.SlowEvery > 0 && s.begun.Add(1)%int64(s.cfg.SlowEvery) == 0 {
		delay = s.cfg.Slow
	}
	if delay <= 0 {
		out.add(answer)
		return true
	}
	time.AfterFunc(delay, func() {
		out.add(answer)
		out.flush()
	})
	return true
}

// statusCodec is the Bolt status of a message that could not be read.
const statusCodec = 9

var responseClass = []byte("com.alipay.sofa.rpc.core.response.SofaResponse")

// writer gathers answers and writes them together.
type writer struct {
	mu   sync.Mutex
	conn net.Conn
	buf  []byte
}

func (w *writer) add(f wire.Frame) {
	w.mu.Lock()
	w.buf = wire.Append(w.buf, f)
	w.mu.Unlock()
}

// flush drops what cannot be written: the reader notices the end of the connection.
func (w *writer) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) > 0 {
		_, _ = w.conn.Write(w.buf)
		w.buf = w.buf[:0]
	}
}
