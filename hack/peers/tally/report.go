package tally

import (
	"fmt"
	"maps"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/axlemesh/axle/hack/peers/meshstate"
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
	// Goaways are announcements that a connection is about to be closed: Bolt's command, or HTTP's "Connection: close".
	Goaways int64 `json:"goaways"`
	// Moves to the sidecar and Returns to the direct way that have been finished.
	Moves   int64 `json:"moves"`
	Returns int64 `json:"returns"`
	// InFlight requests now.
	InFlight int `json:"inFlight"`
	// Via counts the connections on each way now.
	Via map[meshstate.Via]int `json:"via"`
	// Servers says how many answers each server gave.
	Servers map[string]int64 `json:"servers,omitempty"`
	// Versions says how many answers each version of the server gave, as the answers say.
	Versions map[string]int64 `json:"versions,omitempty"`
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
	Number uint32        `json:"number"`
	Via    meshstate.Via `json:"via"`
	Local  string        `json:"local"`
	Remote string        `json:"remote"`
	// Opened is how many sockets this connection has had so far.
	Opened int `json:"opened"`
}

// Report returns the counters now, but for what only the client knows of its connections: InFlight and Via.
func (s *Tally) Report(name string) (Report, error) {
	r := Report{
		Name: name,
		Sent: s.Sent.Load(), Requests: s.requests.Load(), Oneways: s.Oneways.Load(), Heartbeats: s.Heartbeats.Load(),
		Failed: s.failed.Load(), Late: s.Late.Load(), Resets: s.Resets.Load(), Reconnects: s.Reconnects.Load(),
		Duplicates: s.Duplicates.Load(), Goaways: s.Goaways.Load(), Moves: s.moves.Load(), Returns: s.returns.Load(),
		Via: map[meshstate.Via]int{},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Reasons, r.Servers, r.Versions = maps.Clone(s.reasons), maps.Clone(s.servers), maps.Clone(s.versions)
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
