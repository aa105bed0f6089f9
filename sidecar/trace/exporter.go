package trace

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/axlemesh/axle/sidecar/backoff"
)

// Bounds of what waits for the collector: what does not fit is dropped.
const (
	queued  = 32 // batches
	spares  = 4  // buffers that are used again
	timeout = 5 * time.Second
	// giveUpAfter is how long a batch is tried.
	giveUpAfter = 30 * time.Second
	// grace is what a batch on its way has to arrive when Run is to end: sent anew, its spans would be there twice.
	grace       = 500 * time.Millisecond
	firstWait   = 500 * time.Millisecond
	longestWait = 8 * time.Second
)

// Options of an Exporter.
type Options struct {
	// Endpoint is the URL that batches are posted to.
	Endpoint string
	// Resource says who sends.
	Resource []Attribute
	// Build is the version of this program.
	Build string
	// Now is the time of day, Random in [0, 1) spreads retries.
	Now    func() time.Time
	Random func() float64
	Log    logr.Logger
}

// Exporter sends batches of spans to a collector.
type Exporter struct {
	options Options
	to      atomic.Pointer[target]
	client  *http.Client
	retry   backoff.Policy
	scope   []byte
	queue   chan batch
	spare   chan []byte
	unsent  batch // that Run was cut off with; only for Flush, behind Run
	away    bool  // the last try failed

	sent, dropped atomic.Uint64
}

// target is where spans go, and as whose.
type target struct {
	endpoint string
	resource []byte
}

// Counts are spans that have ended, and what became of them.
type Counts struct {
	Sent    uint64 // the collector has them
	Dropped uint64 // it was too slow, away, or did not want them
}

// NewExporter makes an exporter that sends nothing yet.
func NewExporter(o Options) *Exporter {
	if o.Log.GetSink() == nil {
		o.Log = logr.Discard()
	}
	e := &Exporter{
		options: o, client: newClient(), retry: backoff.Policy{First: firstWait, Max: longestWait, Random: o.Random},
		scope: scope("github.com/axlemesh/axle/sidecar/trace", o.Build),
		queue: make(chan batch, queued), spare: make(chan []byte, spares),
	}
	e.Aim(o.Endpoint, o.Resource)
	return e
}

// Aim sends what was not sent yet, and what comes, to this collector and as this resource. Any goroutine may call it.
func (e *Exporter) Aim(endpoint string, about []Attribute) {
	e.to.Store(&target{endpoint: endpoint, resource: resource(about)})
}

// Counts returns what became of spans so far.
func (e *Exporter) Counts() Counts { return Counts{Sent: e.sent.Load(), Dropped: e.dropped.Load()} }

// offer takes a batch if there is room for it.
func (e *Exporter) offer(b batch) {
	select {
	case e.queue <- b:
	default:
		e.drop(b)
	}
}

func (e *Exporter) drop(b batch) {
	e.dropped.Add(uint64(b.n))
	e.reuse(b.spans)
}

// buffer returns memory for a batch.
func (e *Exporter) buffer() []byte {
	select {
	case b := <-e.spare:
		return b
	default:
		return make([]byte, 0, 4<<10)
	}
}

func (e *Exporter) reuse(b []byte) {
	select {
	case e.spare <- b[:0]:
	default:
	}
}

// Run sends until ctx ends, and what is on its way then still has its grace.
func (e *Exporter) Run(ctx context.Context) {
	defer e.client.CloseIdleConnections()
	for ctx.Err() == nil { // select does not prefer the end
		select {
		case <-ctx.Done():
		case b := <-e.queue:
			e.deliver(ctx, b)
		}
	}
}

// deliver sends a batch, again and again if need be.
func (e *Exporter) deliver(ctx context.Context, b batch) {
	began := e.options.Now()
	for failures := 1; ; failures++ {
		late, cancel := withGrace(ctx)
		wait, err := e.post(late, b)
		cancel()
		if err == nil {
			e.arrived(b)
			return
		}
		if ctx.Err() != nil {
			e.unsent = b
			return
		}
		e.missed(err)
		wait = max(wait, e.retry.Delay(failures))
		if !again(err) || e.options.Now().Add(wait).Sub(began) > giveUpAfter {
			e.drop(b)
			return
		}
		if backoff.Wait(ctx, wait) != nil {
			e.unsent = b
			return
		}
	}
}

// withGrace returns a context that ends later than ctx, by the grace.
func withGrace(ctx context.Context) (context.Context, func()) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := context.AfterFunc(ctx, func() { _ = time.AfterFunc(grace, cancel) })
	return late, func() { ended(); cancel() }
}

// Flush tries once to send what Run has left, and drops the rest when ctx ends. Run has returned, and no recorder is used any more.
func (e *Exporter) Flush(ctx context.Context) {
	defer e.client.CloseIdleConnections()
	if e.unsent.n > 0 {
		e.last(ctx, e.unsent)
		e.unsent = batch{}
	}
	for {
		select {
		case b := <-e.queue:
			e.last(ctx, b)
		default:
			return
		}
	}
}

func (e *Exporter) last(ctx context.Context, b batch) {
	if ctx.Err() == nil {
		_, err := e.post(ctx, b)
		if err == nil {
			e.arrived(b)
			return
		}
		e.missed(err)
	}
	e.drop(b)
}

// arrived and missed count, and say when that changes.
func (e *Exporter) arrived(b batch) {
	e.sent.Add(uint64(b.n))
	e.reuse(b.spans)
	if e.away {
		e.away = false
		e.options.Log.Info("Spans reach the collector again", "endpoint", e.to.Load().endpoint)
	}
}

func (e *Exporter) missed(why error) {
	if !e.away {
		e.away = true
		e.options.Log.Info("Spans do not reach the collector; those that find no room in the queue are dropped",
			"endpoint", e.to.Load().endpoint, "reason", why.Error())
	}
}
