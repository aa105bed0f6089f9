package proxy

import (
	"encoding/binary"
	"testing"

	"github.com/axlemesh/axle/sidecar/codec/bolt"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/route"
)

// BenchmarkGoal is what routing adds to a Bolt request.
func BenchmarkGoal(b *testing.B) {
	const service = "com.example.Echo:1.0"
	split := []config.Share{{Cluster: "a", Weight: 9}, {Cluster: "b", Weight: 1}}
	cases := map[string][]config.Route{
		"one cluster": {{Cluster: "a"}},
		"a split":     {{Split: split}},
		"two headers and a split": {{Matches: []config.Match{
			{Name: config.MatchMethod, Kind: config.MatchExact, Value: "pay"}, {Name: "user", Kind: config.MatchPrefix, Value: "test-"},
		}, Split: split}},
		"a plan and a header": {{Split: split, Sticky: "user", Retry: &config.Retry{On: config.RetryReset}, Limit: config.Limit{Burst: 1, Tokens: 1, Every: 1}}},
	}
	var header []byte
	for _, s := range []string{"sofa_head_method_name", "pay", "user", "test-7", "sofa_head_target_app", "echo", "service", service} {
		header = append(binary.BigEndian.AppendUint32(header, uint32(len(s))), s...)
	}
	raw := append(bolt.V1.AppendHeartbeat(nil, 1, 5000), header...)
	binary.BigEndian.PutUint16(raw[16:], uint16(len(header)))
	kept, err := keptFrame(raw)
	if err != nil {
		b.Fatal(err)
	}
	for name, routes := range cases {
		b.Run(name, func(b *testing.B) {
			w := newWorker(&Engine{}, 0, nil)
			w.clusters["a"], w.clusters["b"] = &cluster{name: "a"}, &cluster{name: "b"}
			w.retarget(route.Compile(map[string]*config.Host{service: {Name: service, Routes: routes}}), nil)
			d := &downstream{w: w, from: &config.Listener{Protocol: config.Bolt, Direction: config.Outbound}}
			b.ReportAllocs()
			for b.Loop() {
				if w.goal(d, kept).cluster == nil {
					b.Fatal("no cluster")
				}
			}
		})
	}
}
