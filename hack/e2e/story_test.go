//go:build e2e

package e2e

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/axlemesh/axle/hack/demo/stage"
	"github.com/axlemesh/axle/hack/demo/story"
)

var _ = Describe("pods that already run and serve each other", func() {
	It("get sidecars in place, change their version three times under load, and lose them again, and nobody notices", func(ctx SpecContext) {
		v := tell(ctx, open(ctx, "e2e-story"), 5*time.Second, upgrades...)
		Expect(v.Why).To(BeEmpty())
		Expect(v.String()).To(MatchRegexp(fmt.Sprintf(`^demo: PASS pods=%d in_place=%[1]d slots=0 upgrades=3 rolled_back=0 moves=%d requests=\d+ failed=0 resets=0 reconnects=0 duplicates=0 app_restarts=0 .* left=ok$`, stage.Pods, stage.Connections)))
	}, NodeTimeout(8*time.Minute))

	It("are joined by pods with slots, get a broken version that goes back by itself, and a rule moves a tenth of the calls", func(ctx SpecContext) {
		v := play(ctx, open(ctx, "e2e-whole"), whole("v1-1-0"))
		Expect(v.Why).To(BeEmpty())
		Expect(v.String()).To(MatchRegexp(fmt.Sprintf(`^demo: PASS pods=%d in_place=%d slots=2 upgrades=1 rolled_back=1 moves=%d requests=\d+ failed=0 resets=0 reconnects=0 duplicates=0 app_restarts=0 split=0\.(09|10|11) .* left=ok$`, stage.Pods+2, stage.Pods, stage.Connections)))
	}, NodeTimeout(8*time.Minute))
})

// whole is a plan with every chapter.
func whole(upgrades ...string) story.Plan {
	p := plan(5*time.Second, upgrades...)
	p.Added, p.Split, p.Measure, p.Broken = 2, 10, 15*time.Second, dies
	return p
}

var _ = Describe("a sidecar that ignores the weights of a rule", func() {
	It("makes the story fail, and the split says so", func(ctx SpecContext) {
		p := whole(split)
		p.Broken = ""
		v := play(ctx, open(ctx, "e2e-split"), p)
		Expect(v.String()).To(HavePrefix("demo: FAIL "))
		Expect(v.Why).To(ContainElement(HavePrefix("split=")))
	}, NodeTimeout(6*time.Minute))
})

var _ = Describe("a sidecar that loses something", func() {
	DescribeTable("makes the story fail, and the right counter says so",
		func(ctx SpecContext, scene, version, counter string) {
			// Long enough for the rarest loss: one answer in some thousands of one sidecar.
			v := tell(ctx, open(ctx, scene), time.Minute, version)
			Expect(v.Passed()).To(BeFalse(), "%s", v)
			Expect(v.String()).To(HavePrefix("demo: FAIL "))
			Expect(v.Why).To(ContainElement(HavePrefix(counter)))
		},
		Entry("an answer that is dropped", NodeTimeout(6*time.Minute), "e2e-drop", drop, "failed="),
		Entry("a connection that is reset", NodeTimeout(6*time.Minute), "e2e-reset", reset, "resets="),
		Entry("an answer that is sent twice", NodeTimeout(6*time.Minute), "e2e-dup", dup, "duplicates="),
	)
})
