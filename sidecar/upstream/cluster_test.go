package upstream_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/upstream"
)

func cluster(n int) *config.Cluster {
	c := &config.Cluster{Name: "c"}
	for i := range n {
		c.Endpoints = append(c.Endpoints, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80))
	}
	return c
}

func picks(c *upstream.Cluster[int], now time.Duration, n int) map[netip.AddrPort]int {
	got := map[netip.AddrPort]int{}
	for range n {
		got[c.Pick(now).Addr]++
	}
	return got
}

func TestPickGoesRound(t *testing.T) {
	var c upstream.Cluster[int]
	c.Update(cluster(3), 1)
	want := map[netip.AddrPort]int{}
	for _, a := range c.Config.Endpoints {
		want[a] = 4
	}
	if diff := cmp.Diff(want, picks(&c, 0, 12), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("12 picks of 3 (-want +got):\n%s", diff)
	}
}

func TestPickPassesOverWhatFails(t *testing.T) {
	var c upstream.Cluster[int]
	c.Update(cluster(2), 1)
	bad := c.Hosts()[0]
	bad.Failed(0)
	if n := picks(&c, 1, 10)[bad.Addr]; n != 0 {
		t.Errorf("a resting endpoint was picked %d times", n)
	}
	if n := picks(&c, time.Second, 10)[bad.Addr]; n != 5 {
		t.Errorf("after its rest an endpoint was picked %d times of 10, want 5", n)
	}
	bad.Failed(0)
	c.Hosts()[1].Failed(0)
	if h := c.Pick(1); h != c.Hosts()[1] {
		t.Errorf("with all resting %v was picked, want the one that is back first", h.Addr)
	}
}

func TestPickPassesOverWhatLeaves(t *testing.T) {
	var c upstream.Cluster[int]
	c.Update(cluster(2), 1)
	leaving := c.Hosts()[0]
	leaving.Leaves(0)
	if n := picks(&c, 9*time.Second, 10)[leaving.Addr]; n != 0 {
		t.Errorf("an endpoint that leaves was picked %d times", n)
	}
	if _, errors := leaving.Counts(); errors != 0 {
		t.Errorf("an endpoint that leaves has failed %d times", errors)
	}
	c.Update(cluster(1), 1)
	if h := c.Pick(9 * time.Second); h != leaving {
		t.Errorf("%v was picked, want the only one, though it leaves", h)
	}
}

func TestUpdateKeepsConnectionsOfWhatStays(t *testing.T) {
	var c upstream.Cluster[int]
	c.Update(cluster(2), 1)
	c.Hosts()[0].Conns = []int{7}
	if gone := c.Update(cluster(1), 1); len(gone) != 1 || !gone[0].Gone {
		t.Errorf("gone = %v, want the second host", gone)
	}
	if h := c.Pick(0); c.Len() != 1 || len(h.Conns) != 1 || h.Gone {
		t.Errorf("the host that stayed is %+v", h)
	}
}

func TestSubsetIsStableAndBounded(t *testing.T) {
	all, fewer := cluster(500), cluster(500)
	fewer.Endpoints = fewer.Endpoints[1:]
	a, b := upstream.Subset(all, "", 1), upstream.Subset(fewer, "", 1)
	if len(a) != upstream.MaxEndpoints {
		t.Fatalf("subset of %d has %d", len(all.Endpoints), len(a))
	}
	same := 0
	for _, x := range a {
		for _, y := range b {
			if x == y {
				same++
			}
		}
	}
	if same < upstream.MaxEndpoints-1 {
		t.Errorf("one endpoint of 500 left and %d of the subset of %d changed", upstream.MaxEndpoints-same, upstream.MaxEndpoints)
	}
}
