package upstream

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// FuzzAdaptiveState goes on from a limit that another process has found out: it stays in its bounds, and moves on unchanged.
func FuzzAdaptiveState(f *testing.F) {
	for _, s := range []string{`{"limit":40,"low":1000000}`, `{"Limit":1e308,"Low":-1}`, `{"Limit":0}`, `{}`} {
		f.Add([]byte(s), int64(time.Millisecond))
	}
	f.Fuzz(func(t *testing.T, b []byte, took int64) {
		var s AdaptiveState
		if json.Unmarshal(b, &s) != nil {
			return
		}
		cfg := &config.Adaptive{Min: 2, Max: 100}
		a, again := newAdaptive(cfg), newAdaptive(cfg)
		a.Restore(s)
		kept, err := json.Marshal(a.State())
		if err != nil {
			t.Fatal(err)
		}
		var moved AdaptiveState
		if err := json.Unmarshal(kept, &moved); err != nil {
			t.Fatal(err)
		}
		if again.Restore(moved); again.State() != a.State() {
			t.Errorf("%+v moves on as %+v", a.State(), again.State())
		}
		now := time.Hour
		for range 50 {
			if a.Take(config.PriorityDefault) {
				a.Give()
			}
			now += time.Second
			a.Observe(time.Duration(took), now, true)
			if n := a.Limit(); n < 2 || n > 100 || math.IsNaN(a.gradient.low) {
				t.Fatalf("the limit is %d, the lowest latency %v", n, a.gradient.low)
			}
		}
	})
}
