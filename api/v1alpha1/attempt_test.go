package v1alpha1

import "testing"

func TestTry(t *testing.T) {
	cases := map[string]struct {
		change func(*SidecarFleet)
		want   int64
	}{
		"nothing":              {func(*SidecarFleet) {}, 4},
		"paused":               {func(f *SidecarFleet) { f.Spec.Paused, f.Generation = true, 9 }, 4},
		"another strategy":     {func(f *SidecarFleet) { f.Spec.UpdateStrategy.OnFailure = OnFailurePause }, 4},
		"another annotation":   {func(f *SidecarFleet) { f.Annotations = map[string]string{PromoteAnnotation: "v2/1@4"} }, 4},
		"another version":      {func(f *SidecarFleet) { f.Spec.Version = "v3" }, 5},
		"other ports":          {func(f *SidecarFleet) { f.Spec.Ports = []PortSpec{{AppPort: 80}} }, 5},
		"once more":            {func(f *SidecarFleet) { f.Annotations = map[string]string{RetryAnnotation: "v2/5"} }, 5},
		"an earlier operator":  {func(f *SidecarFleet) { f.Status.UpdateHash = "" }, 4},
		"a fleet that is new":  {func(f *SidecarFleet) { f.Status = SidecarFleetStatus{} }, 1},
		"a change and back":    {func(f *SidecarFleet) { f.Spec.Version, f.Status.UpdateHash, f.Status.Attempt = "v2", "of v3", 5 }, 6},
		"a hash of its own":    {func(f *SidecarFleet) { f.Status.UpdateHash = "0" }, 5},
		"a status of its past": {func(f *SidecarFleet) { f.Status.UpdateHash, f.Status.UpdateVersion = "", "v1" }, 5},
	}
	for name, tc := range cases {
		f := &SidecarFleet{}
		f.Spec.Version, f.Status.UpdateVersion, f.Status.Attempt = "v2", "v2", 4
		_, f.Status.UpdateHash = f.Try()
		tc.change(f)
		got, hash := f.Try()
		if got != tc.want || hash == "" || f.Tried() != (tc.want == f.Status.Attempt) {
			t.Errorf("%s: attempt %d, want %d; hash %q, tried %v", name, got, tc.want, hash, f.Tried())
		}
	}
}
