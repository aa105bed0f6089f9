//go:build e2e

package e2e

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/demo/stage"
)

// logged patches the fleet, and waits until the containers that serve those pods have requests in their logs; and then until they have no
// more of them.
func logged(ctx context.Context, sc *stage.Scene, containers map[string]string) {
	GinkgoHelper()
	tell := func(ctx context.Context, telemetry string) {
		GinkgoHelper()
		fleet := &axlev1.SidecarFleet{}
		fleet.Name = stage.FleetName
		Expect(sc.Kinds().Patch(ctx, fleet, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"telemetry":`+telemetry+`}}`)))).To(Succeed())
	}
	lines := func(ctx context.Context, pod string) []string {
		raw, err := sc.Core().CoreV1().Pods(sc.Name).GetLogs(pod, &corev1.PodLogOptions{Container: containers[pod]}).DoRaw(ctx)
		if err != nil {
			return []string{err.Error()}
		}
		var requests []string
		for line := range strings.Lines(string(raw)) {
			if strings.Contains(line, `"duration_us":`) {
				requests = append(requests, line)
			}
		}
		return requests
	}
	DeferCleanup(func(ctx context.Context) { tell(ctx, "null") })
	for pod := range containers {
		Expect(lines(ctx, pod)).To(BeEmpty(), "before anybody has asked for it")
	}
	tell(ctx, `{"accessLog":{"enabled":true,"samplePercent":"10%"}}`)
	for pod := range containers {
		Eventually(ctx, lines).WithArguments(pod).WithTimeout(30*time.Second).WithPolling(500*time.Millisecond).
			Should(ContainElement(And(ContainSubstring(`"protocol":"bolt"`), ContainSubstring(`"status":0`))), pod)
	}
	tell(ctx, `{"accessLog":{"enabled":false}}`)
	for pod := range containers {
		seen := -1
		Eventually(ctx, func() bool {
			before := seen
			seen = len(lines(ctx, pod))
			return seen == before
		}).WithTimeout(30*time.Second).WithPolling(2*time.Second).Should(BeTrue(), "%s goes on", pod)
	}
}
