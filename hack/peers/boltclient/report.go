package boltclient

import (
	"fmt"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Report is everything that the client has counted since it started.
type Report struct {
	Name string `json:"name"`
	// Sent requests that want an answer; Requests is how many got the right one; Oneways want none.
	Sent     int64 `json:"sent"`
	Requests int64 `json:"requests"`
	Oneways  int64 `json:"oneways"`
	// Heartbeats that were acknowledged.
	Heartbeats int64 `json:"heartbeats"`
	// Failed requests: an error status, a wrong answer, no answer in time, or a connection that was lost; Reasons says which.
	Failed  int64            `json:"failed"`
	Reasons map[string]int64 `json:"reasons,omitempty"`
	// Late answers came after their request had been given up.
	Late int64 `json:"late"`
	// Resets are connections that ended without being asked to; Reconnects are those that were opened again.
	Resets     int64 `json:"resets"`
	Reconnects int64 `json:"reconnects"`
	// Duplicates are second answers to one request.
	Duplicates int64 `json:"duplicates"`
	Goaways    int64 `json:"goaways"`
	// Moves to the sidecar and Returns to the direct way that have been finished.
	Moves   int64 `json:"moves"`
	Returns int64 `json:"returns"`
	// InFlight requests now.
	InFlight int `json:"inFlight"`
	// Via counts the connections on each way now.
	Via map[Via]int `json:"via"`
	// Servers says how many answers each server gave.
	Servers map[string]int64 `json:"servers,omitempty"`
	// Windows in the order in which they were last entered.
	Windows []Window `json:"windows"`
	// LongestStallMS is the longest time that the client itself stood still.
	LongestStallMS float64 `json:"longestStallMS"`
	// Notes say what went wrong, the first few times.
	Notes []string `json:"notes,omitempty"`
}

// Window is a named stretch of time with the latencies of the requests that ended in it.
type Window struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
	// Adjusted requests overlapped a stall of the client itself, which was taken off their latency.
	Adjusted int64   `json:"adjusted"`
	MeanMS   float64 `json:"meanMS"`
	P50MS    float64 `json:"p50MS"`
	P99MS    float64 `json:"p99MS"`
	MaxMS    float64 `json:"maxMS"`
	// Histogram is HdrHistogram's compressed form (V2, base64), in microseconds, so that windows of several clients
	// can be added up.
	Histogram string `json:"histogram"`
}

// Connection is one connection as it is now.
type Connection struct {
	Number uint32 `json:"number"`
	Via    Via    `json:"via"`
	Local  string `json:"local"`
	Remote string `json:"remote"`
	// Opened is how many sockets this connection has had so far.
	Opened int `json:"opened"`
}

// Enter makes name the window that latencies are counted in from now on.
func (c *Client) Enter(name string) { c.stats.enter(name) }

// Report returns the counters now.
func (c *Client) Report() (Report, error) {
	s := &c.stats
	r := Report{
		Name: c.cfg.Name,
		Sent: s.sent.Load(), Requests: s.requests.Load(), Oneways: s.oneways.Load(), Heartbeats: s.heartbeats.Load(),
		Failed: s.failed.Load(), Late: s.late.Load(), Resets: s.resets.Load(), Reconnects: s.reconnects.Load(),
		Duplicates: s.duplicates.Load(), Goaways: s.goaways.Load(), Moves: s.moves.Load(), Returns: s.returns.Load(),
		Via: map[Via]int{},
	}
	for _, sl := range c.slots {
		sl.mu.Lock()
		if sl.current != nil {
			r.Via[sl.current.via]++
			r.InFlight += sl.current.calls
		}
		for _, l := range sl.leaving {
			r.InFlight += l.calls
		}
		sl.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Reasons, r.Servers = s.counts()
	r.Notes = append(r.Notes, s.notes...)
	r.LongestStallMS = float64(s.longest) / float64(time.Millisecond)
	for _, w := range s.windows {
		v, err := w.report()
		if err != nil {
			return Report{}, err
		}
		r.Windows = append(r.Windows, v)
	}
	return r, nil
}

// Connections lists the connections that are open now.
func (c *Client) Connections() []Connection {
	var out []Connection
	for _, s := range c.slots {
		s.mu.Lock()
		if l := s.current; l != nil {
			out = append(out, Connection{Number: s.n, Via: l.via, Local: l.conn.LocalAddr().String(), Remote: l.conn.RemoteAddr().String(), Opened: s.opened})
		}
		s.mu.Unlock()
	}
	return out
}

func (w *window) report() (Window, error) {
	enc, err := w.hist.Encode(hdr.V2CompressedEncodingCookieBase)
	if err != nil {
		return Window{}, fmt.Errorf("encode the latencies of %q: %w", w.name, err)
	}
	n := w.hist.TotalCount()
	out := Window{
		Name: w.name, Count: n, Adjusted: w.adjusted,
		P50MS: ms(w.hist.ValueAtQuantile(50)), P99MS: ms(w.hist.ValueAtQuantile(99)), MaxMS: ms(w.hist.Max()),
		Histogram: string(enc),
	}
	if n > 0 {
		out.MeanMS = float64(w.sum) / float64(n) / float64(time.Millisecond)
	}
	return out, nil
}

func ms(micros int64) float64 { return float64(micros) / 1000 }
