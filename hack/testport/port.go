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
	size   = 200
)

// mine are this process's ports: a block after the other, of which each has a listener on its first port for a claim, until
// the process ends.
var mine struct {
	sync.Mutex
	claims []net.Listener
	ports  []int
	next   int
}

// Free returns a port of 127.0.0.1 that nobody listens on and that no other process of tests is given. It comes again after at
// least 198 others.
func Free(t testing.TB) int {
	t.Helper()
	mine.Lock()
	defer mine.Unlock()
	for {
		for range mine.ports {
			port := mine.ports[mine.next]
			mine.next = (mine.next + 1) % len(mine.ports)
			if l, err := listen(port); err == nil {
				_ = l.Close()
				return port
			}
		}
		if err := claim(); err != nil {
			t.Fatal(err)
		}
	}
}

// claim adds a block that no other process has; its ports are the next ones.
func claim() error {
	start := rand.IntN(blocks)
	for i := range blocks {
		base := first + (start+i)%blocks*size
		l, err := listen(base)
		if err != nil {
			continue
		}
		mine.claims = append(mine.claims, l)
		mine.next = len(mine.ports)
		for port := base + 1; port < base+size; port++ {
			mine.ports = append(mine.ports, port)
		}
		return nil
	}
	return fmt.Errorf("find a free port: somebody listens on every %dth from %d to %d; end what listens there", size, first, first+(blocks-1)*size)
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}
