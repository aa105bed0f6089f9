package membership

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func fleet(name string, priority int32, age time.Duration, team string) axlev1.SidecarFleet {
	f := axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(t0.Add(-age))}}
	f.Spec.Priority = priority
	if team != "" {
		f.Spec.PodSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": team}}
	}
	return f
}

func TestOwner(t *testing.T) {
	old, high := fleet("old", 0, time.Hour, ""), fleet("high", 1, time.Minute, "")
	mine, west := fleet("mine", 0, time.Minute, "x"), fleet("west", 9, time.Hour, "")
	west.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"zone": "west"}}
	enabled := map[string]string{axlev1.InjectionLabel: axlev1.InjectionEnabled}
	cases := map[string]struct {
		fleets    []axlev1.SidecarFleet
		namespace map[string]string
		deleted   bool
		pod       map[string]string
		has       string
		owns      string
		selecting []string
	}{
		"priority before age":                    {fleets: []axlev1.SidecarFleet{old, high}, namespace: enabled, owns: "high", selecting: []string{"high", "old"}},
		"a pod stays with the fleet that it has": {fleets: []axlev1.SidecarFleet{old, high}, namespace: enabled, has: "old", owns: "old", selecting: []string{"high", "old"}},
		"unless that one selects it no more":     {fleets: []axlev1.SidecarFleet{mine, high}, namespace: enabled, has: "mine", owns: "high", selecting: []string{"high"}},
		"a fleet narrows the namespaces":         {fleets: []axlev1.SidecarFleet{west, old}, namespace: enabled, owns: "old", selecting: []string{"old"}},
		"and cannot widen them":                  {fleets: []axlev1.SidecarFleet{west}, namespace: map[string]string{"zone": "west"}},
		"a namespace that is being deleted":      {fleets: []axlev1.SidecarFleet{old}, namespace: enabled, deleted: true},
		"a pod that has opted out":               {fleets: []axlev1.SidecarFleet{old}, namespace: enabled, pod: map[string]string{axlev1.InjectionLabel: axlev1.InjectionDisabled}},
		"no fleet":                               {namespace: enabled},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			all, err := Claims(tc.fleets)
			if err != nil {
				t.Fatal(err)
			}
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Labels: tc.namespace}}
			if tc.deleted {
				ns.DeletionTimestamp = &metav1.Time{Time: t0}
			}
			got, selecting := Owner(all, ns, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: tc.pod}}, tc.has)
			owns := ""
			if got != nil {
				owns = got.Name
			}
			if owns != tc.owns {
				t.Errorf("owner %q, want %q", owns, tc.owns)
			}
			if diff := cmp.Diff(tc.selecting, selecting); diff != "" {
				t.Errorf("selecting (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClaimsNameTheFleetThatCannotBeRead(t *testing.T) {
	bad := fleet("bad", 0, 0, "")
	bad.Spec.PodSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
	_, err := Claims([]axlev1.SidecarFleet{fleet("good", 0, 0, ""), bad})
	if want := `podSelector of SidecarFleet "bad": "Near" is not a valid label selector operator`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
