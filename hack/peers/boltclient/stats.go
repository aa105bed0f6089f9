package boltclient

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
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

// stats are the client's counters. start has to be called before use.
type stats struct {
	sent, oneways, heartbeats atomic.Int64
	failed, late              atomic.Int64
	resets, reconnects        atomic.Int64
	duplicates, goaways       atomic.Int64
	moves, returns            atomic.Int64
	requests                  atomic.Int64

	mu      sync.Mutex
	began   time.Time
	reasons map[string]int64
	servers map[string]int64
	notes   []string
	windows []*window
	stalls  []stall
	longest time.Duration
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

func (s *stats) start(now time.Time) {
	s.began = now
	s.reasons, s.servers = map[string]int64{}, map[string]int64{}
	s.enter(FirstWindow)
}

// enter makes name the window that latencies go to; an old window of that name goes on.
func (s *stats) enter(name string) {
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

// answered records a request that got its right answer.
func (s *stats) answered(start, now time.Time) {
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
func (s *stats) stalled(from, to time.Time) time.Duration {
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

func (s *stats) servedBy(server string) {
	s.mu.Lock()
	s.servers[server]++
	s.mu.Unlock()
}

// fail counts a request that did not get its right answer.
func (s *stats) fail(why string, conn uint32, now time.Time) {
	s.failed.Add(1)
	s.mu.Lock()
	s.reasons[why]++
	s.mu.Unlock()
	s.note("connection %d, %s after the start: %s", conn, now.Sub(s.began).Round(time.Millisecond), why)
}

// moved counts a connection that went to the mesh or came back.
func (s *stats) moved(to Via) {
	if to == Mesh {
		s.moves.Add(1)
		return
	}
	s.returns.Add(1)
}

func (s *stats) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.notes) < maxNotes {
		s.notes = append(s.notes, fmt.Sprintf(format, args...))
	}
}

// watchStalls notes when this process itself stood still, so that this is not blamed on anyone else.
func (s *stats) watchStalls(ctx context.Context, now func() time.Time) {
	last := now()
	for wait(ctx, stallTick) {
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

func (s *stats) counts() (reasons, servers map[string]int64) {
	return maps.Clone(s.reasons), maps.Clone(s.servers)
}
