package v1alpha1

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPortSpecMesh(t *testing.T) {
	cases := map[string]struct {
		port PortSpec
		want int32
	}{
		"by default":  {PortSpec{AppPort: 12200}, 15200},
		"as it says":  {PortSpec{AppPort: 12200, MeshPort: 9000}, 9000},
		"taking over": {PortSpec{AppPort: 12199, MeshPort: 12200, Takeover: true}, 12200},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tc.port.Mesh(); got != tc.want {
				t.Errorf("Mesh() = %d, want %d", got, tc.want)
			}
		})
	}
}

func TestVersionRangeOverlaps(t *testing.T) {
	cases := map[string]struct {
		a, b VersionRange
		want bool
	}{
		"the same":          {VersionRange{1, 1}, VersionRange{1, 1}, true},
		"a newer successor": {VersionRange{1, 2}, VersionRange{2, 3}, true},
		"one inside":        {VersionRange{1, 9}, VersionRange{4, 5}, true},
		"too new":           {VersionRange{1, 2}, VersionRange{3, 4}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.a.Overlaps(tc.b) != tc.want || tc.b.Overlaps(tc.a) != tc.want {
				t.Errorf("%v and %v: want overlap %v, both ways", tc.a, tc.b, tc.want)
			}
		})
	}
}

func TestParseDesired(t *testing.T) {
	cases := map[string]struct {
		annotations map[string]string
		want        *PodDesired
		wantErr     bool
	}{
		"absent": {nil, nil, false},
		"empty":  {map[string]string{DesiredAnnotation: ""}, nil, false},
		"a wish": {
			map[string]string{DesiredAnnotation: `{"fleet":"default","generation":2,"version":"v1","predecessor":1,"begin":true}`},
			&PodDesired{Fleet: "default", Generation: 2, Version: "v1", Predecessor: 1, Begin: true}, false,
		},
		"broken": {map[string]string{DesiredAnnotation: `{"generation":"two"}`}, nil, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := ParseDesired(tc.annotations)
			if (err != nil) != tc.wantErr {
				t.Fatalf("error %v, want one: %v", err, tc.wantErr)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("desired (-want +got):\n%s", diff)
			}
		})
	}
}
