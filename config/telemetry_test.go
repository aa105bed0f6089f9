package config_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/axlemesh/axle/api/v1alpha1"
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

	It("may leave out a step in the middle", func(ctx context.Context) {
		obj := sample("sidecarfleet.yaml")
		set(obj.Object, []string{"spec", "overload"}, map[string]any{
			"memory": map[string]any{"refuseClients": int64(0), "shedHigh": int64(88)}, "cpu": map[string]any{"shedLow": int64(0), "shedHigh": int64(1)},
		})
		Expect(cluster.Create(ctx, obj, client.DryRunAll)).To(Succeed())
	})
})
