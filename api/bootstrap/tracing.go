package bootstrap

// Tracing says where the spans of requests go, and which requests have one. A request whose trace context says whether it is sampled
// is taken at its word.
type Tracing struct {
	// Endpoint is the URL that takes traces by OTLP over HTTP, "http://127.0.0.1:4318/v1/traces" of a collector on the same host.
	Endpoint string `json:"endpoint"`
	// ServiceName is what the spans are shown under; empty means the node's id.
	ServiceName string `json:"serviceName,omitempty"`
	// SamplePercent, 0 to 100, of the requests that bring no context, or one that leaves it to us, get a span.
	SamplePercent float64 `json:"samplePercent,omitempty"`
}
