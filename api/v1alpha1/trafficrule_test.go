package v1alpha1

import "testing"

func TestMirrorParts(t *testing.T) {
	cases := map[string]struct {
		mirror Mirror
		want   int32
	}{
		"everything":              {Mirror{}, 1_000_000},
		"percent":                 {Mirror{Percent: new(int32(5))}, 50_000},
		"nothing":                 {Mirror{Percent: new(int32(0))}, 0},
		"one in a thousand":       {Mirror{Fraction: &Fraction{Numerator: 1, Denominator: 1000}}, 1000},
		"a hundredth by default":  {Mirror{Fraction: &Fraction{Numerator: 3}}, 30_000},
		"a third, to a millionth": {Mirror{Fraction: &Fraction{Numerator: 1, Denominator: 3}}, 333_333},
		"never more than all":     {Mirror{Fraction: &Fraction{Numerator: 3, Denominator: 2}}, 1_000_000},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tc.mirror.Parts(); got != tc.want {
				t.Errorf("Parts() = %d, want %d", got, tc.want)
			}
		})
	}
}
