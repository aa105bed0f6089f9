// Package tally counts what a strict client sees, and reports it: every client of the demo and the tests, whatever it speaks,
// gives the same report.
package tally

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/axlemesh/axle/hack/peers/meshstate"
	"github.com/axlemesh/axle/hack/peers/pace"
)

// Latencies are recorded in microseconds, up to a minute, with two significant digits.
const (
	highest = 60_000_000
	digits  = 2
	// maxNotes bounds the list of what went wrong.
	maxNotes = 50
	// stallTick and stallLimit: the stall meter wakes up every tick; waking up later than the limit is a stall of this
	// process or its machine, not of what it measures.
	stallTick  = 2 * time.Millisecond
	stallLimit = 10 * time.Millisecond
)

// FirstWindow is the name of the latency window that a client starts with.
const FirstWindow = "baseline"

// Tally is a client's counters. Make it with New. It is safe for concurrent use.
type Tally struct {
	// What these count is said in Report.
	Sent, Oneways, Heartbeats atomic.Int64
	Late, Resets, Reconnects  atomic.Int64
	Duplicates, Goaways       atomic.Int64

	requests, failed atomic.Int64
	moves, returns   atomic.Int64

	mu       sync.Mutex
	began    time.Time
	reasons  map[string]int64
	servers  map[string]int64
	versions map[string]int64
	notes    []string
	windows  []*window
	stalls   []stall
	longest  time.Duration
}

// window is a named stretch of time with its latencies.
type window struct {
	name     string
	hist     *hdr.Histogram
	sum      time.Duration
	adjusted int64
}

// stall is a stretch during which this process did not run.
type stall struct{ from, to time.Time }

// New returns a tally that starts at now, in the first window.
func New(now time.Time) *Tally {
	t := &Tally{began: now, reasons: map[string]int64{}, servers: map[string]int64{}, versions: map[string]int64{}}
	t.Enter(FirstWindow)
	return t
}

// Enter makes name the window that latencies go to; an old window of that name goes on.
func (s *Tally) Enter(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, w := range s.windows {
		if w.name == name {
			s.windows = append(append(s.windows[:i:i], s.windows[i+1:]...), w)
			return
		}
	}
	s.windows = append(s.windows, &window{name: name, hist: hdr.New(1, highest, digits)})
}

// Answered records a request that got its right answer.
func (s *Tally) Answered(start, now time.Time) {
	s.requests.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.windows[len(s.windows)-1]
	took := now.Sub(start)
	if own := s.stalled(start, now); own > 0 {
		w.adjusted++
		took -= own
	}
	w.sum += took
	_ = w.hist.RecordValue(min(max(took.Microseconds(), 1), highest)) // it is in range
}

// stalled is how long this process stood still between from and to; s.mu is held. That time is taken off a latency
// instead of leaving the request out: the slowest requests are those that meet a stall most often.
func (s *Tally) stalled(from, to time.Time) time.Duration {
	var sum time.Duration
	for _, st := range s.stalls {
		a, b := st.from, st.to
		if a.Before(from) {
			a = from
		}
		if b.After(to) {
			b = to
		}
		sum += max(b.Sub(a), 0)
	}
	return sum
}

// ServedBy counts an answer for the server that gave it and for the version that it says it is; an empty version is none.
func (s *Tally) ServedBy(server, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers[server]++
	if version != "" {
		s.versions[version]++
	}
}

// Fail counts a request that did not get its right answer.
func (s *Tally) Fail(why string, conn uint32, now time.Time) {
	s.failed.Add(1)
	s.mu.Lock()
	s.reasons[why]++
	s.mu.Unlock()
	s.Note("connection %d, %s after the start: %s", conn, now.Sub(s.began).Round(time.Millisecond), why)
}

// Moved counts a connection that went to the mesh or came back.
func (s *Tally) Moved(to meshstate.Via) {
	if to == meshstate.Mesh {
		s.moves.Add(1)
		return
	}
	s.returns.Add(1)
}

// Note keeps a line of what went wrong, the first few times.
func (s *Tally) Note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.notes) < maxNotes {
		s.notes = append(s.notes, fmt.Sprintf(format, args...))
	}
}

// WatchStalls notes when this process itself stood still, so that this is not blamed on anyone else.
func (s *Tally) WatchStalls(ctx context.Context, now func() time.Time) {
	last := now()
	for pace.Wait(ctx, stallTick) {
		t := now()
		if gap := t.Sub(last); gap > stallLimit {
			s.mu.Lock()
			s.stalls = append(s.stalls, stall{last, t})
			if len(s.stalls) > 16 {
				s.stalls = s.stalls[1:]
			}
			s.longest = max(s.longest, gap)
			s.mu.Unlock()
		}
		last = t
	}
}
