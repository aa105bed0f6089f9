//go:build interop

package interop

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// connections are the open TCP connections to a port of this machine, each named by its other port, sorted. The kernel says
// so: a connection that was closed and opened again has another port.
func connections(t *testing.T, port int) []int {
	t.Helper()
	var all []int
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue // no IPv6
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, established(string(b), port)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// established reads a table of the kernel (proc(5), /proc/net/tcp).
func established(table string, port int) []int {
	const state = "01"
	var all []int
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != state {
			continue
		}
		local, remote := portOf(fields[1]), portOf(fields[2])
		switch port {
		case local:
			all = append(all, remote)
		case remote:
			all = append(all, local)
		}
	}
	return all
}

func portOf(address string) int {
	n, err := strconv.ParseUint(address[strings.LastIndexByte(address, ':')+1:], 16, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

func TestEstablished(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2EE0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:2EE0 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 0100007F:C002 0100007F:2EE0 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
   3: 0100007F:C003 0100007F:2EE0 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0
   4: 0100007F:C004 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 5 1 0 20 4 30 10 -1
`
	if diff := cmp.Diff([]int{0xC001, 0xC002}, established(table, 12000)); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
}
