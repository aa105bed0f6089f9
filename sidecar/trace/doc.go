// Package trace makes spans of proxied requests and exports them by OTLP over HTTP.
//
// A request comes with a context or without one ([Carrier]). Whether it gets a [Span] is up to that context, else to a share of
// all requests. A loop has a [Recorder], which writes the spans that have ended behind each other, as the bytes that go to the
// collector; full batches go to the [Exporter], which drops and counts what the collector does not take in time. A loop never
// waits for it, and nothing is allocated for a request without a span.
package trace
