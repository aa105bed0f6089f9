package accesslog

import (
	"sync/atomic"
	"time"
)

// ringSize is how many lines of one loop may wait to be written. It is a power of two.
const ringSize = 2048

// maxSpare bounds the entries that a loop keeps besides; so many are made at once.
const maxSpare = 64

// Filter says which requests are logged.
type Filter struct {
	// Sample is how many of 2^32 requests are looked at; 0 means all.
	Sample uint32
	// OnlyErrors and SlowerThan log what failed, or took longer; with both, either. Neither logs everything.
	OnlyErrors bool
	SlowerThan time.Duration
}

// Share is the Sample for a part of all requests, above 0 and at most 1.
func Share(part float64) uint32 {
	if part >= 1 {
		return 0
	}
	return uint32(max(part*(1<<32), 1))
}

// takes says whether a request that has ended is logged. Without a filter it is.
func (f *Filter) takes(e *Entry, failed bool) bool {
	if f == nil || !f.OnlyErrors && f.SlowerThan == 0 {
		return true
	}
	return f.OnlyErrors && failed || f.SlowerThan > 0 && e.Took > f.SlowerThan
}

// queue is a ring with one writer and one reader, which need not be of one goroutine.
type queue struct {
	slots      [ringSize]*Entry
	head, tail atomic.Uint32 // read, written
}

func (q *queue) push(e *Entry) bool {
	tail := q.tail.Load()
	if tail-q.head.Load() == ringSize {
		return false
	}
	q.slots[tail%ringSize] = e
	q.tail.Store(tail + 1)
	return true
}

func (q *queue) pop() *Entry {
	head := q.head.Load()
	if head == q.tail.Load() {
		return nil
	}
	e := q.slots[head%ringSize]
	q.head.Store(head + 1)
	return e
}

func (q *queue) empty() bool { return q.head.Load() == q.tail.Load() }

// Ring is one loop's end of a Writer.
type Ring struct {
	w     *Writer
	full  queue // to the writer
	free  queue // and back
	spare []*Entry
	dice  uint64
}

// Take returns an entry for a request that begins, and that f is asked about in the end; nil for one that is not logged, as all
// are without a filter.
func (r *Ring) Take(f *Filter) *Entry {
	if f == nil {
		return nil
	}
	if s := f.Sample; s > 0 {
		r.dice = r.dice*6364136223846793005 + 1442695040888963407 // Knuth's generator (MMIX)
		if uint32(r.dice>>32) >= s {
			return nil
		}
	}
	e := r.TakeMoved()
	e.Filter = f
	return e
}

// TakeMoved returns an entry for a request that another process has sampled. It has no filter yet.
func (r *Ring) TakeMoved() *Entry {
	e := r.free.pop()
	if e == nil {
		if len(r.spare) == 0 {
			r.grow()
		}
		last := len(r.spare) - 1
		e, r.spare = r.spare[last], r.spare[:last]
	}
	e.reset()
	return e
}

// grow makes entries, many at once.
func (r *Ring) grow() {
	entries, text := make([]Entry, maxSpare), make([]byte, maxSpare*maxText)
	for i := range entries {
		entries[i].text = text[i*maxText : i*maxText : (i+1)*maxText]
		r.spare = append(r.spare, &entries[i])
	}
}

// Put gives an entry back whose request has ended. logged says that its line will be written, dropped that it would have
// been if there were room.
func (r *Ring) Put(e *Entry, failed bool) (logged, dropped bool) {
	wanted := e.Filter.takes(e, failed)
	if wanted && r.full.push(e) {
		r.w.rouse()
		return true, false
	}
	if len(r.spare) < maxSpare {
		r.spare = append(r.spare, e)
	}
	return false, wanted
}
