// Package testport gives tests ports that nobody takes between the asking and the listening.
package testport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// The ports lie below those that Linux gives to clients (net.ipv4.ip_local_port_range, 32768 upwards): a port of
// theirs that was just found free belongs, a moment later, to any connection of any process.
const (
	first  = 12000
	blocks = 80
	size   = 200 // the first port of a block is its process's claim
)

var mine struct {
	sync.Mutex
	claim net.Listener // held until the process ends
	base  int
	given int
}

// Free returns a port of 127.0.0.1 that nobody listens on and that no other process of tests is given. It comes again after
// 198 others.
func Free(t testing.TB) int {
	t.Helper()
	mine.Lock()
	defer mine.Unlock()
	if mine.claim == nil {
		if err := claim(); err != nil {
			t.Fatal(err)
		}
	}
	for range size {
		mine.given = mine.given%(size-1) + 1
		if l, err := listen(mine.base + mine.given); err == nil {
			_ = l.Close()
			return mine.base + mine.given
		}
	}
	t.Fatalf("find a free port: all from %d to %d are taken; end what listens there", mine.base+1, mine.base+size-1)
	return 0
}

// claim takes a block that no other process has.
func claim() error {
	start := rand.IntN(blocks)
	for i := range blocks {
		base := first + (start+i)%blocks*size
		if l, err := listen(base); err == nil {
			mine.claim, mine.base = l, base
			return nil
		}
	}
	return fmt.Errorf("find free ports: somebody listens on every %dth from %d to %d; end what listens there", size, first, first+(blocks-1)*size)
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}
