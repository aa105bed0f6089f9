package proxy

import (
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestStatusesMeanTheSame: what a fault answers with is taken for the status that it was told to answer with.
func TestStatusesMeanTheSame(t *testing.T) {
	cases := map[string]struct {
		protocol     config.Protocol
		status, want int
	}{
		"bolt: no processor":   {config.Bolt, 404, 404},
		"bolt: busy":           {config.Bolt, 503, 503},
		"bolt: a limit":        {config.Bolt, 429, 503},
		"bolt: communication":  {config.Bolt, 502, 502},
		"bolt: timeout":        {config.Bolt, 504, 504},
		"bolt: nothing better": {config.Bolt, 418, 500},
		"dubbo: not found":     {config.Dubbo, 404, 404},
		"dubbo: busy":          {config.Dubbo, 503, 503},
		"dubbo: a limit":       {config.Dubbo, 429, 503},
		"dubbo: inactive":      {config.Dubbo, 502, 502},
		"dubbo: timeout":       {config.Dubbo, 408, 504},
		"dubbo: bad request":   {config.Dubbo, 400, 400},
		"dubbo: else":          {config.Dubbo, 500, 500},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f, err := keptFrame(rpcReply{id: 7, protocol: tc.protocol}.appendStatus(nil, tc.status))
			if err != nil {
				t.Fatal(err)
			}
			if got := f.httpStatus(); got != tc.want || f.busy() != (tc.want == 503) {
				t.Errorf("%d is %d, busy %t; want %d", tc.status, got, f.busy(), tc.want)
			}
		})
	}
}
