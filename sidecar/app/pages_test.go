package app

import (
	"fmt"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
	"github.com/axlemesh/axle/sidecar/sockets"
)

// TestHealthIsCheap: what a probe costs does not grow with the configuration.
func TestHealthIsCheap(t *testing.T) {
	e, err := proxy.New(proxy.Options{Loops: 2, Sockets: &sockets.Set{}, Clock: func() time.Duration { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	s := &config.Snapshot{Clusters: map[string]*config.Cluster{}}
	for i := range 500 {
		name := fmt.Sprintf("c%d", i)
		s.Clusters[name] = &config.Cluster{Name: name, Connections: 1}
	}
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	a := &app{engine: e}
	if n := testing.AllocsPerRun(10, func() { _ = a.healthy() }); n > 50 {
		t.Errorf("a look at the health of 500 clusters costs %v allocations", n)
	}
}
