// Package httpserver is a strict HTTP/1.1 server for tests, load and the demo: it recognises every message by its identity,
// checks its checksum, and notices when it gets one twice.
package httpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/axlemesh/axle/hack/peers/ledger"
	"github.com/axlemesh/axle/hack/peers/wire"
)

// The header fields by which an answer says who gave it.
const (
	ServerField  = "X-Peer-Server"
	VersionField = "X-Peer-Version"
)

// maxPaths bounds how many paths are counted one by one; the others are counted together, as Elsewhere.
const maxPaths = 256

// Elsewhere is the entry of Report.Paths for what was asked for at too many different paths.
const Elsewhere = "elsewhere"

// Config of a Server. The zero value answers at once, without a name, with an empty payload.
type Config struct {
	// Name is in every answer.
	Name string
	// Version is in every answer too, so that a client can tell how its calls are split; empty for none.
	Version string
	// Delay is how long a request is worked on before it is answered.
	Delay time.Duration
	// Payload is how many bytes an answer carries besides its identity.
	Payload int
}

// Report is what the server has seen since it started.
type Report struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// Requests of strict clients that were answered, each identity once.
	Requests int64 `json:"requests"`
	// Plain requests had no body and so no identity; they are answered with who the server is.
	Plain int64 `json:"plain"`
	// Duplicates are requests whose identity had been seen before. They are answered, but not counted as requests.
	Duplicates int64 `json:"duplicates"`
	// BadChecksums are requests whose body is not what a strict client wrote.
	BadChecksums int64 `json:"badChecksums"`
	// Broken are connections whose bytes were refused because they are not HTTP.
	Broken int64 `json:"broken"`
	// Resets are connections that were reset, or ended inside a request or before its answer.
	Resets int64 `json:"resets"`
	// Accepted connections since the start, and Active ones now.
	Accepted int64 `json:"accepted"`
	Active   int64 `json:"active"`
	// Paths says how many requests of any kind came for each.
	Paths map[string]int64 `json:"paths,omitempty"`
}

// Server answers HTTP/1.1 requests. Make it with New.
type Server struct {
	cfg     Config
	payload []byte
	seen    ledger.Ledger
	http    http.Server

	requests, plain, duplicates, badSums atomic.Int64
	broken, resets, accepted, live       atomic.Int64

	mu    sync.Mutex
	paths map[string]int64
}

// New returns a server that has not been given a listener yet.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, payload: make([]byte, cfg.Payload), paths: map[string]int64{}}
	for i := range s.payload {
		s.payload[i] = byte('a' + i%26)
	}
	s.http = http.Server{
		Handler:   http.HandlerFunc(s.handle),
		ConnState: s.connection,
		ErrorLog:  log.New(io.Discard, "", 0), // what goes wrong is counted
		// No timeouts: a connection ends when its client ends it.
	}
	return s
}

// Serve accepts connections until Close; it then returns nil.
func (s *Server) Serve(ln net.Listener) error {
	if err := s.http.Serve(listener{ln, s}); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
	}
	return nil
}

// Close ends every listener and connection.
func (s *Server) Close() { _ = s.http.Close() } // nothing is left to do about a listener that does not close

// Report returns the counters.
func (s *Server) Report() Report {
	r := Report{
		Name: s.cfg.Name, Version: s.cfg.Version,
		Requests: s.requests.Load(), Plain: s.plain.Load(),
		Duplicates: s.duplicates.Load(), BadChecksums: s.badSums.Load(),
		Broken: s.broken.Load(), Resets: s.resets.Load(),
		Accepted: s.accepted.Load(), Active: s.live.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.paths) > 0 {
		r.Paths = maps.Clone(s.paths)
	}
	return r
}

// Handler serves GET /report.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Report()) // the reader went away: nobody is left to tell
	})
	return mux
}

func (s *Server) connection(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.accepted.Add(1)
		s.live.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.live.Add(-1)
	}
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	s.count(r.URL.Path)
	body, err := io.ReadAll(io.LimitReader(r.Body, wire.MaxFrame))
	if err != nil {
		s.resets.Add(1)
		panic(http.ErrAbortHandler) // the documented way to end the connection
	}
	if !pause(r.Context(), s.cfg.Delay) {
		s.resets.Add(1)
		panic(http.ErrAbortHandler)
	}
	w.Header().Set(ServerField, s.cfg.Name)
	if s.cfg.Version != "" {
		w.Header().Set(VersionField, s.cfg.Version)
	}
	if len(body) == 0 {
		s.introduce(w, r)
		return
	}
	id, sum, err := wire.ParseRequestContent(body)
	if err != nil {
		s.badSums.Add(1)
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	if s.seen.Add(id) {
		s.requests.Add(1)
	} else {
		s.duplicates.Add(1)
	}
	answer := wire.AppendReplyContent(nil, wire.Reply{Identity: id, RequestSum: sum, Server: s.cfg.Name}, s.payload)
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.ContentLength >= 0 {
		w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
		_, _ = w.Write(answer) // the reader of the connection notices its end
		return
	}
	// A request in chunks is answered in chunks.
	half := len(answer) / 2
	_, _ = w.Write(answer[:half])
	_ = http.NewResponseController(w).Flush()
	_, _ = w.Write(answer[half:])
}

// introduce answers a request that is nobody's in particular.
func (s *Server) introduce(w http.ResponseWriter, r *http.Request) {
	s.plain.Add(1)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(struct { // the reader of the connection notices its end
		Server  string `json:"server"`
		Version string `json:"version,omitempty"`
		Method  string `json:"method"`
		Host    string `json:"host"`
		Path    string `json:"path"`
	}{s.cfg.Name, s.cfg.Version, r.Method, r.Host, r.URL.Path})
}

func (s *Server) count(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.paths[path]; !known && len(s.paths) >= maxPaths {
		path = Elsewhere
	}
	s.paths[path]++
}

// pause waits for d; false when the client went away meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
