package trace

import "time"

// Bounds of a batch, which is what goes to the collector at once.
const (
	batchBytes = 32 << 10
	batchSpans = 256
	// BatchAge is how long a span waits for others, at most.
	BatchAge = time.Second
)

// batch is spans that have ended, as fields of ScopeSpans.
type batch struct {
	spans []byte
	n     int
}

// Recorder gathers the spans of one loop, which alone touches it.
type Recorder struct {
	// First is called with the first span of a batch, which has to be handed over within BatchAge.
	First func()

	to       *Exporter
	ids      ids
	sampling Sampling
	batch    batch
	scratch  []byte
}

// NewRecorder makes the recorder of one more loop.
func (e *Exporter) NewRecorder(sampling Sampling) *Recorder {
	return &Recorder{to: e, ids: newIDs(), sampling: sampling}
}

// Begin makes the span of a request whose context is c, nil when it gets none. share is that of requests whose context leaves it to
// us.
func (r *Recorder) Begin(c *Carrier, share Sampling) *Span {
	if c.Sampled == Drop || c.Sampled == Undecided && c.Trace == (ID{}) && share == 0 {
		return nil
	}
	trace := c.Trace
	if trace == (ID{}) {
		trace = r.ids.trace()
	}
	if c.Sampled == Undecided && !share.takes(&trace) {
		return nil
	}
	s := &Span{Trace: trace, ID: r.ids.span(), Parent: c.Span, Status: -1, to: r}
	for _, t := range [...]struct {
		name Text
		is   []byte
	}{{SOFATrace, c.SOFATrace}, {SOFACall, c.SOFARPC}, {SOFAApp, c.SOFAApp}} {
		if len(t.is) > 0 {
			s.Set(t.name, t.is)
		}
	}
	return s
}

// Share is that of requests without a context.
func (r *Recorder) Share() Sampling { return r.sampling }

// add writes a span that has ended.
func (r *Recorder) add(s *Span, now time.Duration) {
	if r.batch.spans == nil {
		r.batch.spans = r.to.buffer()
	}
	r.batch.spans, r.scratch = appendSpan(r.batch.spans, s, r.to.options.Now(), now-s.Start, r.scratch)
	if r.batch.n++; r.batch.n == 1 && r.First != nil {
		r.First()
	}
	if r.batch.n >= batchSpans || len(r.batch.spans) >= batchBytes {
		r.Hand()
	}
}

// Hand hands over what there is, and does not wait for anything.
func (r *Recorder) Hand() {
	if r.batch.n > 0 {
		r.to.offer(r.batch)
		r.batch = batch{}
	}
}
