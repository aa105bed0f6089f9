package bootstrap

import "testing"

func TestDefaultedLoops(t *testing.T) {
	cases := map[string]struct {
		in   Bootstrap
		cpus int
		want int
	}{
		"as many as CPUs":      {cpus: 1, want: 1},
		"at most two":          {cpus: 64, want: 2},
		"at least one":         {cpus: 0, want: 1},
		"one in place":         {in: Bootstrap{Node: Node{InPlace: true}}, cpus: 64, want: 1},
		"what is given stands": {in: Bootstrap{Loops: 5}, cpus: 1, want: 5},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tc.in.Defaulted(tc.cpus).Loops; got != tc.want {
				t.Errorf("loops %d, want %d", got, tc.want)
			}
		})
	}
}

func TestDefaultedAddresses(t *testing.T) {
	got := Bootstrap{Admin: "127.0.0.1:1"}.Defaulted(1)
	if got.Admin != "127.0.0.1:1" || got.MeshAPI != DefaultMeshAPIAddress || got.Handover.Socket != DefaultHandoverSocket {
		t.Errorf("defaulted %+v", got)
	}
}
