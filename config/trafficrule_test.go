package config_test

import (
	"context"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/axlemesh/axle/api/v1alpha1"
)

var _ = Describe("the sample of a TrafficRule", func() {
	BeforeEach(payments)

	It("is accepted, and its weights can be patched", func(ctx context.Context) {
		obj := sample("trafficrule.yaml")
		Expect(cluster.Create(ctx, obj)).To(Succeed())
		DeferCleanup(cluster.Delete, obj)

		set(obj.Object, []string{"spec", "rules", "1", "backendRefs", "0", "weight"}, int64(50))
		Expect(cluster.Update(ctx, obj)).To(Succeed())
	})

	It("may be as short as a parent and a timeout", func(ctx context.Context) {
		obj := &v1alpha1.TrafficRule{Spec: v1alpha1.TrafficRuleSpec{
			ParentRefs: []v1alpha1.ParentRef{{Name: "pay"}}, Rules: []v1alpha1.Rule{{
				Matches:     []v1alpha1.Match{{Method: &v1alpha1.ValueMatch{Value: "query"}}},
				BackendRefs: []v1alpha1.BackendRef{{BackendTarget: v1alpha1.BackendTarget{Name: "pay"}}},
				Mirror:      &v1alpha1.Mirror{BackendRef: v1alpha1.BackendTarget{Name: "shadow"}, Fraction: &v1alpha1.Fraction{Numerator: 5}},
				Retry:       &v1alpha1.Retry{RetryOn: []v1alpha1.RetryOn{v1alpha1.RetryReset}},
				Fault:       &v1alpha1.Fault{Abort: &v1alpha1.FaultAbort{Percent: new(intstr.FromString("0.01%")), Status: 503}},
			}},
		}}
		obj.Name, obj.Namespace = "short", "default"
		Expect(cluster.Create(ctx, obj)).To(Succeed())
		DeferCleanup(cluster.Delete, obj)
		Expect(obj.Spec.ParentRefs[0].Kind).To(Equal(v1alpha1.ParentService))
		rule := obj.Spec.Rules[0]
		Expect(rule.Fallback).To(Equal(v1alpha1.FallbackFail))
		Expect(rule.Matches[0].Method.Type).To(Equal(v1alpha1.MatchExact))
		Expect(rule.BackendRefs[0].Weight).To(HaveValue(BeEquivalentTo(1)))
		Expect(rule.Retry.Attempts).To(HaveValue(BeEquivalentTo(1)))
		Expect(rule.Retry.Methods).To(Equal(v1alpha1.RetryIdempotent))
		Expect(rule.Retry.BudgetPercent()).To(BeEquivalentTo(20))
		Expect(rule.Mirror.Fraction.Denominator).To(BeEquivalentTo(100))
	})

	many := func(n int, of any) []any {
		all := make([]any, n)
		for i := range all {
			all[i] = of
		}
		return all
	}
	DescribeTable("is rejected", rejects("trafficrule.yaml"),
		Entry("without a parent", mutation{"spec.parentRefs", []any{}, "at least 1"}),
		Entry("with a parent that is no Service", mutation{"spec.parentRefs.0.kind", "Deployment", "Unsupported value"}),
		Entry("with a parent that no Service can be called", mutation{"spec.parentRefs.0.name", "Pay_1", "spec.parentRefs[0].name"}),
		Entry("with a parent on port 0", mutation{"spec.parentRefs.0.port", int64(0), "greater than or equal to 1"}),
		Entry("with one parent twice", mutation{"spec.parentRefs", many(2, map[string]any{"name": "pay"}), "two parentRefs are the same"}),
		Entry("without rules", mutation{"spec.rules", []any{}, "at least 1"}),
		Entry("with 17 rules", mutation{"spec.rules", many(17, map[string]any{}), "at most 16"}),
		Entry("with an empty service key", mutation{"spec.rules.0.matches.0.service.value", "", "service.value"}),
		Entry("with two service keys in one", mutation{"spec.rules.0.matches.0.service.value", "com.x.A,com.x.B", "service.value"}),
		Entry("with an unknown comparison", mutation{"spec.rules.0.matches.0.method.type", "Glob", "Unsupported value"}),
		Entry("with an expression of 300 bytes", mutation{"spec.rules.0.matches.0.headers.0.value", strings.Repeat("a", 300), "Too long"}),
		Entry("with the method as a header", mutation{"spec.rules.0.matches.0.headers.0.name", ":method", "headers[0].name"}),
		Entry("with one header twice", mutation{"spec.rules.0.matches.0.headers", many(2, map[string]any{"name": "a", "value": "b"}), "Duplicate value"}),
		Entry("with a backend that no Service can be called", mutation{"spec.rules.0.backendRefs.0.name", "pay.other", "backendRefs[0].name"}),
		Entry("with a weight below 0", mutation{"spec.rules.0.backendRefs.0.weight", int64(-1), "greater than or equal to 0"}),
		Entry("with a weight above a million", mutation{"spec.rules.0.backendRefs.0.weight", int64(1000001), "less than or equal to 1000000"}),
		Entry("with nobody who has a weight", mutation{"spec.rules.0.backendRefs.0.weight", int64(0), "weight above 0"}),
		Entry("with a subset that is no label", mutation{"spec.rules.0.backendRefs.0.subset", map[string]any{"version": "v2,v3"}, "subset must be labels"}),
		Entry("with a subset whose name is no label's", mutation{"spec.rules.0.backendRefs.0.subset", map[string]any{"a/b/c": "v2"}, "subset must be labels"}),
		Entry("with a mirror that has percent and fraction", mutation{"spec.rules.1.mirror.percent", int64(5), "percent or fraction, not both"}),
		Entry("with a mirror to nowhere", mutation{"spec.rules.1.mirror.backendRef", nil, "mirror.backendRef: Required value"}),
		Entry("with more copies than requests", mutation{"spec.rules.1.mirror.fraction.numerator", int64(1001), "must not be greater than denominator"}),
		Entry("with a timeout that is no duration", mutation{"spec.rules.1.timeout", "soon", "timeout"}),
		Entry("with a timeout of no time", mutation{"spec.rules.1.timeout", "0s", "from 1ms to 1h"}),
		Entry("with a timeout of a day", mutation{"spec.rules.1.timeout", "24h", "from 1ms to 1h"}),
		Entry("with a fault of nothing", mutation{"spec.rules.1.fault", map[string]any{}, "needs a delay or an abort"}),
		Entry("with a delay of no time", mutation{"spec.rules.1.fault", map[string]any{"delay": map[string]any{"duration": "0s"}}, "from 1ms to 1h"}),
		Entry("with a delay of more than all", mutation{"spec.rules.1.fault", map[string]any{"delay": map[string]any{"duration": "1s", "percent": "101%"}}, "percent"}),
		Entry("with a delay of a number above 100", mutation{"spec.rules.1.fault", map[string]any{"delay": map[string]any{"duration": "1s", "percent": int64(101)}}, "percent is from 0% to 100%"}),
		Entry("with an abort without a status", mutation{"spec.rules.1.fault", map[string]any{"abort": map[string]any{"percent": "1%"}}, "status: Required value"}),
		Entry("with an abort that is none", mutation{"spec.rules.1.fault", map[string]any{"abort": map[string]any{"status": int64(100)}}, "greater than or equal to 200"}),
		Entry("with a retry on nothing", mutation{"spec.rules.1.retry", map[string]any{"attempts": int64(1)}, "something to retry on"}),
		Entry("with a retry on luck", mutation{"spec.rules.1.retry", map[string]any{"retryOn": []any{"Luck"}}, "Unsupported value"}),
		Entry("with ten retries", mutation{"spec.rules.1.retry", map[string]any{"retryOn": []any{"Reset"}, "attempts": int64(10)}, "less than or equal to 9"}),
		Entry("with a hedge of no time", mutation{"spec.rules.1.retry", map[string]any{"retryOn": []any{"Reset"}, "hedge": true}, "hedge needs perTryTimeout"}),
		Entry("with a hedge of one try", mutation{
			"spec.rules.1.retry", map[string]any{"retryOn": []any{"Reset"}, "hedge": true, "perTryTimeout": "1s", "attempts": int64(0)}, "attempts of at least 1",
		}),
		Entry("with a hedge where slow tries are none", mutation{
			"spec.rules.1.retry", map[string]any{"retryOn": []any{"Busy"}, "hedge": true, "perTryTimeout": "1s"}, "hedge needs slow tries to be retried",
		}),
		Entry("with a budget of nothing", mutation{"spec.rules.1.retry", map[string]any{"retryOn": []any{"Reset"}, "budget": "0%"}, "budget"}),
		Entry("with a retry of a success", mutation{"spec.rules.1.retry", map[string]any{"retryOn": []any{"Reset"}, "statuses": []any{int64(200)}}, "greater than or equal to 400"}),
		Entry("with an unknown fallback", mutation{"spec.rules.1.fallback", "Guess", "Unsupported value"}),
	)
})
