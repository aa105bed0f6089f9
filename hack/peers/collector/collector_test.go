package collector_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/axlemesh/axle/hack/peers/collector"
)

func TestHandler(t *testing.T) {
	whole, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{}, {}}})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		path        string
		body        []byte
		status      int
		taken, told int
	}{
		"a batch":         {collector.Path, whole, 200, 2, 0},
		"no batch":        {collector.Path, whole[:len(whole)-1], 400, 0, 1},
		"somewhere else":  {"/v1/logs", whole, 400, 0, 1},
		"nothing, a POST": {collector.Path, nil, 200, 0, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			taken, told := 0, 0
			h := collector.Handler(func(d *tracepb.TracesData) { taken += len(d.ResourceSpans) }, func(error) { told++ })
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, tc.path, bytes.NewReader(tc.body)))
			if w.Code != tc.status || taken != tc.taken || told != tc.told {
				t.Errorf("status %d, %d taken, %d told; want %d, %d, %d", w.Code, taken, told, tc.status, tc.taken, tc.told)
			}
		})
	}
}
