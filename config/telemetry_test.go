package config_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/sidecar/static"
)

var _ = Describe("the telemetry and the overload of a SidecarFleet", func() {
	It("are nothing by default", func(ctx context.Context) {
		obj := &v1alpha1.SidecarFleet{Spec: v1alpha1.SidecarFleetSpec{Version: "v1"}}
		obj.Name = "silent"
		Expect(cluster.Create(ctx, obj)).To(Succeed())
		DeferCleanup(cluster.Delete, obj)
		Expect(obj.Spec.Telemetry).To(BeZero())
		Expect(obj.Spec.Overload).To(BeNil())
	})

	It("may be as short as a switch and an address, and are patched", func(ctx context.Context) {
		half := intstr.FromString("0.5%")
		obj := &v1alpha1.SidecarFleet{Spec: v1alpha1.SidecarFleetSpec{
			Version: "v1",
			Telemetry: v1alpha1.Telemetry{
				AccessLog: &v1alpha1.AccessLog{Enabled: true, SlowerThan: &metav1.Duration{Duration: time.Minute}, SamplePercent: &half},
				Tracing:   &v1alpha1.Tracing{Endpoint: "https://[fd00::1]:4318/"},
			},
			Overload: &v1alpha1.Overload{Memory: &v1alpha1.OverloadSteps{CloseIdle: new(int32(0)), OverloadShedding: v1alpha1.OverloadShedding{ShedHigh: new(int32(88))}}},
		}}
		obj.Name = "short-telemetry"
		Expect(cluster.Create(ctx, obj)).To(Succeed())
		DeferCleanup(cluster.Delete, obj)
		Expect(obj.Spec.Telemetry.AccessLog.Parts()).To(BeEquivalentTo(5000))
		Expect(obj.Spec.Telemetry.Tracing.Parts()).To(BeZero())

		patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"telemetry":{"accessLog":{"enabled":false},"tracing":null},"overload":{"disabled":true}}}`))
		Expect(cluster.Patch(ctx, obj, patch)).To(Succeed())
		Expect(obj.Spec.Telemetry.Tracing).To(BeNil())
	})

	DescribeTable("are rejected", rejects("sidecarfleet.yaml"),
		Entry("with an endpoint without a scheme", mutation{"spec.telemetry.tracing.endpoint", "otel.observability:4318", "spec.telemetry.tracing.endpoint"}),
		Entry("with one of gRPC", mutation{"spec.telemetry.tracing.endpoint", "grpc://otel:4317/", "spec.telemetry.tracing.endpoint"}),
		Entry("with one without a path", mutation{"spec.telemetry.tracing.endpoint", "http://otel:4318", "spec.telemetry.tracing.endpoint"}),
		Entry("with a password", mutation{"spec.telemetry.tracing.endpoint", "http://a:secret@otel:4318/v1/traces", "spec.telemetry.tracing.endpoint"}),
		Entry("with a query", mutation{"spec.telemetry.tracing.endpoint", "http://otel:4318/v1/traces?key=secret", "spec.telemetry.tracing.endpoint"}),
		Entry("with a port that is none", mutation{"spec.telemetry.tracing.endpoint", "http://otel:http/v1/traces", "endpoint is no URL"}),
		Entry("without an endpoint", mutation{"spec.telemetry.tracing.endpoint", nil, "Required value"}),
		Entry("with a name of a service that is a header", mutation{"spec.telemetry.tracing.serviceName", "a\nb", "spec.telemetry.tracing.serviceName"}),
		Entry("with more spans than requests", mutation{"spec.telemetry.tracing.samplePercent", int64(101), "samplePercent is from 0% to 100%"}),
		Entry("with a share that is no percentage", mutation{"spec.telemetry.tracing.samplePercent", "1", "spec.telemetry.tracing.samplePercent"}),
		Entry("with a log of nothing", mutation{"spec.telemetry.accessLog.samplePercent", int64(0), "to log nothing, set enabled to false"}),
		Entry("with a log of nothing, to four decimals", mutation{"spec.telemetry.accessLog.samplePercent", "00.0000%", "to log nothing, set enabled to false"}),
		Entry("with a log of what takes no time", mutation{"spec.telemetry.accessLog.slowerThan", "0s", "slowerThan must be from 1ms to 1h"}),
		Entry("with a log of what takes days", mutation{"spec.telemetry.accessLog.slowerThan", "48h", "slowerThan must be from 1ms to 1h"}),
		Entry("with a look at every millisecond", mutation{"spec.overload.interval", "1ms", "interval must be from 20ms to 1m"}),
		Entry("with more than all of the memory", mutation{"spec.overload.memory.shedHigh", int64(101), "less than or equal to 100"}),
		Entry("with steps that go down", mutation{"spec.overload.memory.closeIdle", int64(85), "must be at least the one before it, or 0"}),
		Entry("with a step above the default of the next", mutation{"spec.overload.descriptors", map[string]any{"closeIdle": int64(91)}, "without a value they are 80, 90, 95, 0 and 0"}),
		Entry("with one of CPU below the default of the one before", mutation{"spec.overload.cpu", map[string]any{"shedDefault": int64(90)}, "without a value they are 98, 0 and 0"}),
	)

	It("are what a sidecar takes, too", func(ctx context.Context) {
		seed := time.Now().UnixNano()
		By(fmt.Sprintf("seed %d", seed))
		random := rand.New(rand.NewPCG(uint64(seed), 0))
		steps := func(fields ...string) map[string]any {
			all := map[string]any{}
			for _, f := range fields {
				if random.IntN(2) > 0 {
					all[f] = int64(max(0, random.IntN(125)-25)) // often never
				}
			}
			return all
		}
		for range 150 {
			obj := sample("sidecarfleet.yaml")
			section := map[string]any{
				"memory":      steps("closeIdle", "refuseClients", "shedLow", "shedDefault", "shedHigh"),
				"descriptors": steps("closeIdle", "refuseClients", "shedLow", "shedDefault", "shedHigh"),
				"cpu":         steps("shedLow", "shedDefault", "shedHigh"),
			}
			set(obj.Object, []string{"spec", "overload"}, section)
			raw, err := json.Marshal(section)
			Expect(err).NotTo(HaveOccurred())
			b := &bootstrap.Bootstrap{Overload: &bootstrap.Overload{}}
			Expect(json.Unmarshal(raw, b.Overload)).To(Succeed())
			_, _, taken := static.Overload(b)
			if taken == nil {
				Expect(cluster.Create(ctx, obj, client.DryRunAll)).To(Succeed(), "%s", raw)
			} else {
				Expect(cluster.Create(ctx, obj, client.DryRunAll)).To(MatchError(ContainSubstring("must be at least the one before it")), "%s: %v", raw, taken)
			}
		}
	})

	DescribeTable("have an endpoint that a sidecar takes, too, or none", func(ctx context.Context, endpoint string) {
		obj := sample("sidecarfleet.yaml")
		set(obj.Object, []string{"spec", "telemetry", "tracing", "endpoint"}, endpoint)
		if err := cluster.Create(ctx, obj, client.DryRunAll); err == nil {
			Expect(static.CheckTracing(&bootstrap.Tracing{Endpoint: endpoint})).To(Succeed())
		} else {
			Expect(apierrors.IsInvalid(err)).To(BeTrue(), "error is %v", err)
		}
	},
		Entry(nil, "http://otel:4318/v1/traces"), Entry(nil, "http://[::1]/"), Entry(nil, "http://[::1/"), Entry(nil, "http://:4318/"), Entry(nil, "http:///v1"),
		Entry(nil, "HTTP://otel/v1"), Entry(nil, "http://otel/%zz"), Entry(nil, "http://ot%20el/v1"), Entry(nil, "http://otel/v1\x00"), Entry(nil, "http://otel/v1#"),
		Entry(nil, "http://otel/v1?"), Entry(nil, "http://otel\\@evil/v1"), Entry(nil, "http://otel:99999/v1"), Entry(nil, "http://otel:-1/v1"), Entry(nil, "http://ötel/v1"),
		Entry(nil, "http://otel/a@b:c"), Entry(nil, "http://otel/ "), Entry(nil, "http://otel\u00a0/v1"), Entry(nil, "http://otel//"), Entry(nil, ""),
	)

	It("may leave out a step in the middle", func(ctx context.Context) {
		obj := sample("sidecarfleet.yaml")
		set(obj.Object, []string{"spec", "overload"}, map[string]any{
			"memory": map[string]any{"refuseClients": int64(0), "shedHigh": int64(88)}, "cpu": map[string]any{"shedLow": int64(0), "shedHigh": int64(1)},
		})
		Expect(cluster.Create(ctx, obj, client.DryRunAll)).To(Succeed())
	})
})
