package trace

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// collector takes batches, and answers as it is told.
type collector struct {
	*httptest.Server
	answer    atomic.Int64 // status; 0 is 200
	reply     atomic.Value // of bytes
	posts     atomic.Int64
	answering func() // is called when it has the spans, if set

	mu    sync.Mutex
	names []string
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.posts.Add(1)
		b, err := io.ReadAll(r.Body)
		if err != nil { // the exporter has called it off
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s, content type %q", r.Method, r.URL.Path, r.Header.Get("Content-Type"))
		}
		if status := c.answer.Load(); status != 0 {
			w.WriteHeader(int(status))
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range decoded(t, b).ScopeSpans[0].Spans {
			c.names = append(c.names, s.Name)
		}
		if c.answering != nil {
			c.answering()
		}
		if reply, ok := c.reply.Load().([]byte); ok {
			_, _ = w.Write(reply)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) got() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.names)
}

// exporting is an exporter that is in a hurry.
func exporting(t *testing.T, endpoint string) (e *Exporter, r *Recorder, stop func()) {
	t.Helper()
	e = NewExporter(Options{Endpoint: endpoint + "/v1/traces", Now: time.Now})
	e.retry.First, e.retry.Max = time.Millisecond, 2*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { e.Run(ctx); close(done) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return e, e.NewRecorder(Percent(100)), stop
}

// perBatch is how many of record's spans make a batch: it is full by their bytes.
const perBatch = 205

func TestPerBatch(t *testing.T) {
	r := NewExporter(Options{Now: time.Now}).NewRecorder(Percent(100))
	record(r, perBatch-1)
	if record(r, 1); r.batch.n != 0 || len(r.to.queue) != 1 {
		t.Errorf("%d spans do not fill a batch", perBatch)
	}
}

func record(r *Recorder, n int) {
	var none Carrier
	for range n {
		s := r.Begin(&none, r.Share())
		s.Kind = Server
		s.Set(Method, []byte("GET"))
		s.End(time.Second)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func TestBatchesGoByNumberAndByHand(t *testing.T) {
	c := newCollector(t)
	e, r, _ := exporting(t, c.URL)
	firsts := 0
	r.First = func() { firsts++ }
	record(r, 2*perBatch+7)
	eventually(t, "two batches", func() bool { return c.got() == 2*perBatch })
	r.Hand()
	r.Hand()
	eventually(t, "the rest", func() bool { return c.got() == 2*perBatch+7 && e.Counts().Sent == 2*perBatch+7 })
	if c.posts.Load() != 3 || firsts != 3 || e.Counts().Dropped != 0 {
		t.Errorf("%d posts, %d batches begun, %+v", c.posts.Load(), firsts, e.Counts())
	}
}

// TestACollectorThatIsAwayCostsNothingButItsSpans: what finds no room is dropped and counted, and nobody waits.
func TestACollectorThatIsAwayCostsNothingButItsSpans(t *testing.T) {
	c := newCollector(t)
	c.answer.Store(http.StatusServiceUnavailable)
	e, r, _ := exporting(t, c.URL)
	const batches = queued + 10
	record(r, batches*perBatch)
	eventually(t, "tries", func() bool { return c.posts.Load() > 5 })
	// One batch is tried, the queue is full.
	if n := e.Counts(); n.Dropped < (batches-queued-2)*perBatch || n.Dropped > (batches-queued)*perBatch || n.Sent != 0 {
		t.Errorf("%+v of %d spans", n, batches*perBatch)
	}
	c.answer.Store(0)
	eventually(t, "everything has an end", func() bool { n := e.Counts(); return n.Sent+n.Dropped == batches*perBatch })
	if n := e.Counts(); int(n.Sent) != c.got() || n.Sent < queued*perBatch {
		t.Errorf("%+v, and the collector has %d", n, c.got())
	}
}

func TestWhatACollectorDoesNotWantIsNotSentAgain(t *testing.T) {
	c := newCollector(t)
	c.answer.Store(http.StatusBadRequest)
	e, r, _ := exporting(t, c.URL)
	record(r, perBatch)
	eventually(t, "it is dropped", func() bool { return e.Counts().Dropped == perBatch })
	if c.posts.Load() != 1 {
		t.Errorf("%d posts, want 1", c.posts.Load())
	}
	c.answer.Store(0)
	c.reply.Store([]byte{0x0a, 0x05, 0x08, 0x03, 0x12, 0x01, 'x'}) // partial_success: 3 rejected, "x"
	record(r, perBatch)
	eventually(t, "three of them are not wanted", func() bool { return e.Counts() == Counts{Sent: perBatch - 3, Dropped: perBatch + 3} })
}

func TestTheLastSpansAreSentWithinABound(t *testing.T) {
	away, c := newCollector(t), newCollector(t) // what away still reads when it is too late must not come into c
	away.answer.Store(http.StatusServiceUnavailable)
	e, r, stop := exporting(t, away.URL)
	record(r, perBatch)
	eventually(t, "a try", func() bool { return away.posts.Load() > 0 })
	stop()
	e.Aim(c.URL+"/v1/traces", nil)
	record(r, 3)
	r.Hand()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	e.Flush(ctx)
	if c.got() != perBatch+3 || e.Counts() != (Counts{Sent: perBatch + 3}) {
		t.Errorf("the collector has %d of %d, %+v", c.got(), perBatch+3, e.Counts())
	}

	release := make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer stuck.Close()
	defer close(release)
	e, r, stop = exporting(t, stuck.URL)
	record(r, 3*perBatch)
	stop()
	short, end := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer end()
	e.Flush(short)
	if n := e.Counts(); n != (Counts{Dropped: 3 * perBatch}) {
		t.Errorf("of a collector that never answers: %+v", n)
	}
}

// TestABatchOnItsWayIsNotSentTwice when the exporter ends: the collector may have it already.
func TestABatchOnItsWayIsNotSentTwice(t *testing.T) {
	c := newCollector(t)
	has, answer := make(chan struct{}), make(chan struct{})
	c.answering = func() { has <- struct{}{}; <-answer }
	e, r, stop := exporting(t, c.URL)
	record(r, perBatch)
	<-has
	ended := make(chan struct{})
	go func() { stop(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(grace / 10):
	}
	close(answer)
	<-ended
	go func() { // what comes a second time may, too
		for range has {
		}
	}()
	e.Flush(t.Context())
	if c.got() != perBatch || e.Counts() != (Counts{Sent: perBatch}) {
		t.Errorf("the collector has %d of %d, %+v", c.got(), perBatch, e.Counts())
	}
}

func TestRetryAfter(t *testing.T) {
	for v, want := range map[string]time.Duration{"": 0, "2": 2 * time.Second, "-1": 0, "Fri, 31 Dec 1999 23:59:59 GMT": 0, "99999": giveUpAfter} {
		if got := retryAfter(v); got != want {
			t.Errorf("%q: %s, want %s", v, got, want)
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte{0x0a, 0x05, 0x08, 0x03, 0x12, 0x01, 'x'})
	f.Add([]byte{0x12, 0x01, 'x', 0x0a, 0x00})
	f.Fuzz(func(_ *testing.T, b []byte) { rejected(b) })
}

func BenchmarkASampledSpan(b *testing.B) {
	r := NewExporter(Options{Now: time.Now}).NewRecorder(Percent(100))
	var none Carrier
	b.ReportAllocs()
	for b.Loop() {
		s := r.Begin(&none, r.Share())
		s.Kind, s.Status, s.Listener, s.Cluster, s.RouteHost, s.Route = Client, 200, "outbound/http", "shop", "shop.demo", "shop.demo"
		s.Set(Method, []byte("GET"))
		s.Set(Path, []byte("/orders/17"))
		s.Set(Host, []byte("shop.demo"))
		s.End(time.Second)
	}
}
