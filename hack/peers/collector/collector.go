// Package collector takes spans by OTLP over HTTP.
package collector

import (
	"fmt"
	"io"
	"net/http"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Path is where collectors take spans.
const Path = "/v1/traces"

// maxBatch in bytes of one POST.
const maxBatch = 16 << 20

// Handler answers each POST, and gives what it brought to take. What is no batch of spans is answered with 400, and told to bad.
func Handler(take func(*tracepb.TracesData), bad func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var data tracepb.TracesData
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBatch))
		if err == nil && r.URL.Path != Path {
			err = fmt.Errorf("it is sent to %q", r.URL.Path)
		}
		if err == nil {
			err = proto.Unmarshal(b, &data)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			bad(fmt.Errorf("read a batch of spans: %w", err))
			return
		}
		take(&data)
	})
}
