package accesslog

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
)

// Stdout is the path of standard output.
const Stdout = "stdout"

const (
	// linger is how long lines wait for others, to be written together.
	linger = 10 * time.Millisecond
	// reopen is how often it looks whether the file is still the one of that name.
	reopen = time.Second
	// maxChunk is about how much is written at once.
	maxChunk = 256 << 10
)

// Options of a Writer.
type Options struct {
	// Path of the file, which is made when it is not there; Stdout is standard output.
	Path string
	// Filter is for requests of listeners that have none of their own.
	Filter Filter
	// OnDemand logs none of those.
	OnDemand bool
	// Stdout is what the path of that name means.
	Stdout io.Writer
	// Now is the time of day, Clock that of the loops.
	Now   func() time.Time
	Clock func() time.Duration
	Log   logr.Logger
}

// Writer writes lines.
type Writer struct {
	o    Options
	lost atomic.Uint64

	adding sync.Mutex // held to change rings
	rings  atomic.Pointer[[]*Ring]

	sleeping atomic.Bool
	wake     chan struct{}
	quit     chan struct{}
	done     chan struct{}

	file    *os.File // nil for standard output, and while there is none
	checked time.Time
	failing bool
	buf     []byte
}

// New makes a writer; nothing is opened before Run.
func New(o Options) *Writer {
	w := &Writer{o: o, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	w.rings.Store(&[]*Ring{})
	return w
}

// Ring makes one loop's end. Any goroutine may call it.
func (w *Writer) Ring() *Ring {
	w.adding.Lock()
	defer w.adding.Unlock()
	rings := *w.rings.Load()
	r := &Ring{w: w, dice: uint64(len(rings)+1) * 0x9E3779B97F4A7C15}
	rings = append(slices.Clone(rings), r)
	w.rings.Store(&rings)
	return r
}

// Default is the filter for requests of listeners that have none of their own; nil logs none of those.
func (w *Writer) Default() *Filter {
	if w.o.OnDemand {
		return nil
	}
	return &w.o.Filter
}

// Lost is how many lines could not be written.
func (w *Writer) Lost() uint64 { return w.lost.Load() }

// rouse wakes the writer up, if it sleeps. Any goroutine may call it.
func (w *Writer) rouse() {
	if w.sleeping.Load() && w.sleeping.CompareAndSwap(true, false) {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Run writes until Close.
func (w *Writer) Run() {
	defer close(w.done)
	pause := time.NewTimer(linger)
	defer pause.Stop()
	for w.await() {
		pause.Reset(linger)
		select {
		case <-pause.C:
		case <-w.quit:
		}
		w.drain()
	}
	w.drain()
	if w.file != nil {
		_ = w.file.Close() // what was written is with the kernel
	}
}

// Close ends Run when everything is written, or when ctx ends.
func (w *Writer) Close(ctx context.Context) {
	close(w.quit)
	select {
	case <-w.done:
	case <-ctx.Done():
	}
}

// await returns when there is something to write; false when there never will be.
func (w *Writer) await() bool {
	w.sleeping.Store(true)
	for _, r := range *w.rings.Load() {
		if !r.full.empty() {
			w.sleeping.Store(false)
			return true
		}
	}
	select {
	case <-w.wake:
		return true
	case <-w.quit:
		return false
	}
}

// drain writes everything that waits.
func (w *Writer) drain() {
	wall, clock := w.o.Now(), w.o.Clock()
	lines := uint64(0)
	for _, r := range *w.rings.Load() {
		for e := r.full.pop(); e != nil; e = r.full.pop() {
			w.buf = e.appendLine(w.buf, wall.Add(e.Began-clock))
			lines++
			r.free.push(e)
			if len(w.buf) >= maxChunk {
				w.flush(lines)
				lines = 0
			}
		}
	}
	w.flush(lines)
}

func (w *Writer) flush(lines uint64) {
	if lines == 0 {
		return
	}
	err := w.write()
	w.buf = w.buf[:0]
	switch {
	case err != nil && !w.failing:
		w.o.Log.Error(err, "The access log cannot be written; lines are lost until it can")
	case err == nil && w.failing:
		w.o.Log.Info("The access log is written again", "path", w.o.Path)
	}
	if w.failing = err != nil; w.failing {
		w.lost.Add(lines)
	}
}

func (w *Writer) write() error {
	if w.o.Path == Stdout {
		_, err := w.o.Stdout.Write(w.buf)
		return err
	}
	if err := w.open(); err != nil {
		return err
	}
	_, err := w.file.Write(w.buf) // appended as a whole: another process may write to the file, too
	return err
}

// open makes sure that the file is the one of its name: another program may have renamed it, or removed it.
func (w *Writer) open() error {
	now := w.o.Now()
	if w.file != nil && now.Sub(w.checked) < reopen {
		return nil
	}
	w.checked = now
	if w.file != nil {
		named, err := os.Stat(w.o.Path)
		if err == nil {
			if mine, failed := w.file.Stat(); failed == nil && os.SameFile(named, mine) {
				return nil
			}
		}
		_ = w.file.Close() // what was written is with the kernel
		w.file = nil
	}
	f, err := os.OpenFile(w.o.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("open the access log: %w", err)
	}
	w.file = f
	return nil
}
