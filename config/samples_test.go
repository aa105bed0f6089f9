package config_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/axlemesh/axle/api/v1alpha1"
)

// mutation is a change of a sample that the API server has to reject, and a part of what it has to say.
type mutation struct {
	path  string // of the field, dots between; a number indexes a list
	value any    // nil removes the field
	says  string
}

// payments makes the namespace that the samples of TrafficRules are in.
func payments(ctx context.Context) {
	GinkgoHelper()
	ns := &corev1.Namespace{}
	ns.Name = "payments"
	Expect(client.IgnoreAlreadyExists(cluster.Create(ctx, ns))).To(Succeed())
}

func sample(name string) *unstructured.Unstructured {
	GinkgoHelper()
	data, err := os.ReadFile(filepath.Join("samples", name))
	Expect(err).NotTo(HaveOccurred())
	obj := &unstructured.Unstructured{}
	Expect(yaml.UnmarshalStrict(data, &obj.Object)).To(Succeed())
	return obj
}

func set(node any, path []string, value any) any {
	GinkgoHelper()
	if len(path) == 0 {
		return value
	}
	switch n := node.(type) {
	case map[string]any:
		if len(path) == 1 && value == nil {
			delete(n, path[0])
			return n
		}
		n[path[0]] = set(n[path[0]], path[1:], value)
		return n
	case []any:
		Expect(path[0]).To(BeElementOf("0", "1", "2"))
		i := int(path[0][0] - '0')
		n[i] = set(n[i], path[1:], value)
		return n
	default:
		Fail("no field " + strings.Join(path, "."))
		return nil
	}
}

func rejects(file string) func(mutation) {
	return func(m mutation) {
		obj := sample(file)
		set(obj.Object, strings.Split(m.path, "."), m.value)
		err := cluster.Create(context.Background(), obj, client.DryRunAll)
		Expect(apierrors.IsInvalid(err)).To(BeTrue(), "error is %v", err)
		Expect(err.Error()).To(ContainSubstring(m.says))
	}
}

const imageTag = "registry.example/axle-sidecar:v1.1.0"

var _ = Describe("the sample of a SidecarVersion", func() {
	It("is accepted, and its spec never changes afterwards", func(ctx context.Context) {
		obj := sample("sidecarversion.yaml")
		Expect(cluster.Create(ctx, obj)).To(Succeed())
		DeferCleanup(cluster.Delete, obj)

		set(obj.Object, []string{"spec", "image"}, imageTag)
		Expect(cluster.Update(ctx, obj)).To(MatchError(ContainSubstring("immutable")))
	})

	It("may be as short as an image and its protocols", func(ctx context.Context) {
		obj := &v1alpha1.SidecarVersion{Spec: v1alpha1.SidecarVersionSpec{
			Image: imageTag, Protocols: []v1alpha1.Protocol{v1alpha1.ProtocolBolt},
		}}
		obj.Name = "short"
		Expect(cluster.Create(ctx, obj)).To(Succeed())
		DeferCleanup(cluster.Delete, obj)
		Expect(obj.Spec.HandoverProtocol).To(Equal(v1alpha1.VersionRange{Min: 1, Max: 1}))
		Expect(obj.Spec.Resources.Limits.Memory.String()).To(Equal("128Mi"))
		Expect(obj.Spec.Resources.Requests.CPU.String()).To(Equal("50m"))
	})

	DescribeTable("is rejected", rejects("sidecarversion.yaml"),
		Entry("without an image", mutation{"spec.image", nil, "spec.image: Required value"}),
		Entry("with an image that has neither digest nor tag", mutation{"spec.image", "registry.example:5000/axle-sidecar", "digest (preferred) or a tag"}),
		Entry("with an image without a registry", mutation{"spec.image", "axle-sidecar:v1", "spec.image"}),
		Entry("with half a digest", mutation{"spec.image", "registry.example/axle-sidecar@sha256:9f86d0", "spec.image"}),
		Entry("with an image that is a command line", mutation{"spec.image", "registry.example/a:b --privileged", "spec.image"}),
		Entry("with an image of 600 bytes", mutation{"spec.image", "registry.example/" + strings.Repeat("a", 600) + ":v1", "Too long"}),
		Entry("with no protocol", mutation{"spec.protocols", []any{}, "at least 1"}),
		Entry("with an unknown protocol", mutation{"spec.protocols.0", "smtp", "Unsupported value"}),
		Entry("with a protocol twice", mutation{"spec.protocols.0", "bolt", "Duplicate value"}),
		Entry("with a handover range that is upside down", mutation{"spec.handoverProtocol.min", int64(3), "min must not be greater than max"}),
		Entry("with handover version 0", mutation{"spec.handoverProtocol.min", int64(0), "greater than or equal to 1"}),
		Entry("with too little memory", mutation{"spec.resources.limits.memory", "8Mi", "at least 32Mi"}),
		Entry("with a memory that is no quantity", mutation{"spec.resources.limits.memory", "much", "spec.resources.limits.memory"}),
		Entry("with a name that no label can hold", mutation{"metadata.name", "v1.1.0", "must be a DNS label"}),
	)
})

var _ = Describe("the sample of a SidecarFleet", func() {
	It("is accepted, and its version can be patched", func(ctx context.Context) {
		obj := sample("sidecarfleet.yaml")
		Expect(cluster.Create(ctx, obj)).To(Succeed())
		DeferCleanup(cluster.Delete, obj)

		patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"version":"v1-2-0"}}`))
		Expect(cluster.Patch(ctx, obj, patch)).To(Succeed())
	})

	It("may be as short as a version", func(ctx context.Context) {
		obj := &v1alpha1.SidecarFleet{Spec: v1alpha1.SidecarFleetSpec{Version: "v1-0-0"}}
		obj.Name = "short"
		Expect(cluster.Create(ctx, obj)).To(Succeed())
		DeferCleanup(cluster.Delete, obj)
		Expect(obj.Spec.NamespaceSelector.MatchLabels).To(Equal(map[string]string{"axlemesh.io/injection": "enabled"}))
		Expect(obj.Spec.PodSelector).NotTo(BeNil())
		Expect(obj.Spec.InPlace.On()).To(BeTrue())
		Expect(obj.Spec.InPlace.Enabled).NotTo(BeNil())
		Expect(obj.Spec.InPlace.MaxGenerations).To(BeEquivalentTo(50))
		Expect(obj.Spec.InPlace.RestartApp).To(Equal(v1alpha1.RestartNever))
		strategy := obj.Spec.UpdateStrategy
		Expect(strategy.MaxUpdating.String()).To(Equal("10%"))
		Expect(strategy.Steps).To(Equal([]v1alpha1.UpdateStep{{Percent: 100}}))
		Expect(strategy.OnFailure).To(Equal(v1alpha1.OnFailureRollback))
		Expect(strategy.ProgressDeadlineSeconds).To(BeEquivalentTo(600))
		Expect(strategy.Analysis.SuccessRate).To(Equal("99.99"))
		Expect(strategy.Analysis.Interval.Duration.String()).To(Equal("15s"))
	})

	DescribeTable("is rejected", rejects("sidecarfleet.yaml"),
		Entry("without a version", mutation{"spec.version", nil, "spec.version: Required value"}),
		Entry("with a version that is no name", mutation{"spec.version", "V1 beta", "spec.version"}),
		Entry("with a priority beyond the bounds", mutation{"spec.priority", int64(2000000), "less than or equal to 1000000"}),
		Entry("with an unknown way of restarting", mutation{"spec.inPlace.restartApp", "Always", "Unsupported value"}),
		Entry("with no generation to give", mutation{"spec.inPlace.maxGenerations", int64(0), "greater than or equal to 1"}),
		Entry("with port 0", mutation{"spec.ports.0.appPort", int64(0), "greater than or equal to 1"}),
		Entry("with a mesh port that is the application's", mutation{"spec.ports.0.meshPort", int64(12200), "meshPort"}),
		Entry("with a mesh port that the sidecar needs itself", mutation{"spec.ports.0.meshPort", int64(13330), "13330"}),
		Entry("with a default mesh port that the sidecar needs itself", mutation{"spec.ports.0", map[string]any{"appPort": int64(10330)}, "13330"}),
		Entry("with a default mesh port beyond 65535", mutation{"spec.ports.0", map[string]any{"appPort": int64(63000)}, "no port"}),
		Entry("with one application port twice", mutation{"spec.ports", []any{
			map[string]any{"appPort": int64(80)}, map[string]any{"appPort": int64(80), "meshPort": int64(81)},
		}, "Duplicate value"}),
		Entry("with one mesh port twice", mutation{"spec.ports", []any{
			map[string]any{"appPort": int64(80)}, map[string]any{"appPort": int64(81), "meshPort": int64(3080)},
		}, "same meshPort"}),
		Entry("with a mesh port on another application's", mutation{"spec.ports", []any{
			map[string]any{"appPort": int64(80)}, map[string]any{"appPort": int64(3080)},
		}, "another port's appPort"}),
		Entry("with an unknown protocol", mutation{"spec.ports.0.protocol", "smtp", "Unsupported value"}),
		Entry("with nobody who may update", mutation{"spec.updateStrategy.maxUpdating", int64(0), "maxUpdating"}),
		Entry("with 0 %", mutation{"spec.updateStrategy.maxUpdating", "0%", "maxUpdating"}),
		Entry("with more than everybody", mutation{"spec.updateStrategy.maxUpdating", "101%", "maxUpdating"}),
		Entry("with no steps", mutation{"spec.updateStrategy.steps", []any{}, "at least 1"}),
		Entry("with steps that go down", mutation{"spec.updateStrategy.steps.0.percent", int64(20), "greater percentage"}),
		Entry("with a step twice", mutation{"spec.updateStrategy.steps.0.percent", int64(10), "greater percentage"}),
		Entry("with steps that do not end", mutation{"spec.updateStrategy.steps.2.percent", int64(99), "last step"}),
		Entry("with a pause that is no duration", mutation{"spec.updateStrategy.steps.0.pause", "tea", "pause"}),
		Entry("with a success rate above 100 %", mutation{"spec.updateStrategy.analysis.successRate", "100.5", "successRate"}),
		Entry("with a p99 that is a number", mutation{"spec.updateStrategy.analysis.p99Increase", int64(5), "percentage, like 50%"}),
		Entry("with an unknown way to fail", mutation{"spec.updateStrategy.onFailure", "Shrug", "Unsupported value"}),
		Entry("with a deadline of no time", mutation{"spec.updateStrategy.progressDeadlineSeconds", int64(0), "greater than or equal to 1"}),
	)
})
