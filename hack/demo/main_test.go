package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/hack/demo/stage"
)

func TestConfigure(t *testing.T) {
	dies := stage.Version{Name: "v1-4-0", Break: "exit"}
	healthy := []stage.Version{{Name: "v1-0-0"}, {Name: "v1-1-0"}, {Name: "v1-2-0"}, {Name: "v1-3-0"}, dies}
	dropping := []stage.Version{{Name: "v1-0-0"}, {Name: "v1-1-0-drop", Break: "drop"}, {Name: "v1-2-0-drop", Break: "drop"}, {Name: "v1-3-0-drop", Break: "drop"}, dies}
	cases := map[string]struct {
		env      map[string]string
		versions []stage.Version
		baseline time.Duration
		fails    bool
	}{
		"nothing set":         {nil, healthy, time.Minute, false},
		"a short baseline":    {map[string]string{"DEMO_BASELINE": "5s"}, healthy, 5 * time.Second, false},
		"sabotage":            {map[string]string{"BREAK": "drop"}, dropping, time.Minute, false},
		"unknown sabotage":    {map[string]string{"BREAK": "everything"}, nil, 0, true},
		"a baseline of weeks": {map[string]string{"DEMO_BASELINE": "2 weeks"}, nil, 0, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := configure(func(k string) string { return tc.env[k] })
			if tc.fails {
				if err == nil {
					t.Error("no error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.versions, got.versions); diff != "" {
				t.Errorf("versions (-want +got):\n%s", diff)
			}
			if got.plan.Baseline != tc.baseline || len(got.plan.Upgrades) != 3 || got.plan.Broken != dies.Name || got.plan.Connections != stage.Connections {
				t.Errorf("plan %+v", got.plan)
			}
		})
	}
}

func TestAMistakeIsAFailure(t *testing.T) {
	v := run(t.Context(), "demo", func(k string) string { return map[string]string{"BREAK": "x"}[k] }, t.Output())
	if v.Passed() {
		t.Errorf("verdict %s", v)
	}
}
