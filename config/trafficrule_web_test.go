package config_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/axlemesh/axle/api/v1alpha1"
)

var _ = Describe("the sample of a TrafficRule for the web", func() {
	BeforeEach(payments)

	It("is accepted", func(ctx context.Context) {
		obj := sample("trafficrule_web.yaml")
		Expect(cluster.Create(ctx, obj)).To(Succeed())
		DeferCleanup(cluster.Delete, obj)
	})

	It("needs little more than what differs from the defaults", func(ctx context.Context) {
		obj := &v1alpha1.TrafficRule{Spec: v1alpha1.TrafficRuleSpec{
			ParentRefs: []v1alpha1.ParentRef{{Name: "shop"}},
			Rules: []v1alpha1.Rule{
				{Matches: []v1alpha1.Match{{Path: &v1alpha1.PathMatch{Value: "/old"}, QueryParams: []v1alpha1.QueryParamMatch{{Name: "a", Value: "b"}}}}, Redirect: &v1alpha1.Redirect{Hostname: "shop.example"}},
				{Limit: &v1alpha1.Limit{Requests: 10}},
			},
			Upstream: &v1alpha1.Upstream{
				Balancing:        &v1alpha1.Balancing{SlowStart: &v1alpha1.SlowStart{Window: metav1.Duration{Duration: time.Minute}}},
				OutlierDetection: &v1alpha1.OutlierDetection{SuccessRate: &v1alpha1.SuccessRate{}}, HealthCheck: &v1alpha1.HealthCheck{},
			},
		}}
		obj.Name, obj.Namespace = "short-web", "default"
		Expect(cluster.Create(ctx, obj)).To(Succeed())
		DeferCleanup(cluster.Delete, obj)
		first, up := obj.Spec.Rules[0], obj.Spec.Upstream
		Expect(first.Matches[0].Path.Type).To(Equal(v1alpha1.PathPrefix))
		Expect(first.Matches[0].QueryParams[0].Type).To(Equal(v1alpha1.MatchExact))
		Expect(first.Redirect.StatusCode).To(BeEquivalentTo(302))
		Expect(obj.Spec.Rules[1].Limit.Interval.Duration).To(Equal(time.Second))
		Expect(up.Balancing.Policy).To(Equal(v1alpha1.RoundRobin))
		Expect(up.Balancing.SlowStart.From).To(HaveValue(Equal(intstr.FromString("10%"))))
		Expect(up.OutlierDetection.ConsecutiveErrors).To(HaveValue(BeEquivalentTo(5)))
		Expect(up.OutlierDetection.MaxEjected).To(HaveValue(Equal(intstr.FromString("50%"))))
		Expect(up.OutlierDetection.SuccessRate.Thousandths()).To(BeEquivalentTo(1900))
		Expect(up.HealthCheck.Interval.Duration).To(Equal(5 * time.Second))
		Expect(up.HealthCheck.UnhealthyThreshold).To(HaveValue(BeEquivalentTo(3)))
	})

	It("takes every balancing policy, and upstream without rules", func(ctx context.Context) {
		for _, p := range []v1alpha1.BalancingPolicy{"RoundRobin", "LeastRequest", "PeakEWMA", "Random", "RingHash", "Maglev"} {
			b := &v1alpha1.Balancing{Policy: p}
			if p == v1alpha1.RingHash || p == v1alpha1.Maglev {
				b.HashHeaders = []string{"uid", "X-Tenant"}
			}
			obj := &v1alpha1.TrafficRule{Spec: v1alpha1.TrafficRuleSpec{ParentRefs: []v1alpha1.ParentRef{{Name: "shop"}}, Upstream: &v1alpha1.Upstream{Balancing: b}}}
			obj.Name, obj.Namespace = strings.ToLower(string(p)), "default"
			Expect(cluster.Create(ctx, obj, client.DryRunAll)).To(Succeed())
		}
	})

	It("takes every comparison", func(ctx context.Context) {
		var headers, params []any
		for i, t := range []string{"Exact", "Prefix", "Suffix", "Contains", "RegularExpression"} {
			headers = append(headers, map[string]any{"name": fmt.Sprint("h", i), "type": t, "value": "x", "invert": true})
			params = append(params, map[string]any{"name": fmt.Sprint("p", i), "type": t, "value": "x"})
		}
		headers = append(headers, map[string]any{"name": "there", "type": "Present"}, map[string]any{"name": "n", "type": "Range", "range": map[string]any{"from": int64(-5), "to": int64(1) << 60}, "invert": true})
		params = append(params, map[string]any{"name": "away", "type": "Present", "invert": true})
		obj := sample("trafficrule_web.yaml")
		set(obj.Object, []string{"spec", "rules", "0", "matches", "0", "headers"}, headers)
		set(obj.Object, []string{"spec", "rules", "0", "matches", "0", "queryParams"}, params)
		Expect(cluster.Create(ctx, obj, client.DryRunAll)).To(Succeed())
	})

	m := func(fields ...any) map[string]any {
		out := map[string]any{}
		for i := 0; i+1 < len(fields); i += 2 {
			out[fields[i].(string)] = fields[i+1]
		}
		return out
	}
	const (
		match    = "spec.rules.0.matches.0."
		header   = match + "headers.0"
		param    = match + "queryParams.0"
		up       = "spec.upstream."
		balance  = up + "balancing"
		outliers = up + "outlierDetection."
		check    = up + "healthCheck."
	)
	DescribeTable("is rejected", rejects("trafficrule_web.yaml"),
		Entry("with neither rules nor upstream", mutation{"spec", m("parentRefs", []any{m("name", "shop")}), "needs rules, upstream or both"}),
		Entry("with a path that is none", mutation{match + "path.value", "old", "begins with /"}),
		Entry("with a path that has a query", mutation{match + "path.value", "/old?x", "has no query"}),
		Entry("with an unknown path type", mutation{match + "path.type", "Prefix", "Unsupported value"}),
		Entry("with a range without bounds", mutation{header, m("name", "uid", "type", "Range"), "range belongs to the type Range"}),
		Entry("with bounds without a range", mutation{header, m("name", "uid", "value", "1", "range", m("from", int64(1), "to", int64(2))), "range belongs to the type Range"}),
		Entry("with an empty range", mutation{header + ".range.to", int64(1000), "less than to"}),
		Entry("with a range and a value", mutation{header + ".value", "7", "have no value"}),
		Entry("with presence of a value", mutation{header, m("name", "uid", "type", "Present", "value", "7"), "have no value"}),
		Entry("with nothing to compare with", mutation{header, m("name", "uid"), "every other type needs one"}),
		Entry("with a method in a range", mutation{match + "method", m("type", "Range", "value", "1"), "Unsupported value"}),
		Entry("with a parameter in a range", mutation{param, m("name", "a", "type", "Range", "value", "1"), "Unsupported value"}),
		Entry("with a parameter that is not something", mutation{param + ".invert", true, "only Present can be inverted"}),
		Entry("with a parameter's presence of a value", mutation{param + ".type", "Present", "Present has no value"}),
		Entry("with a parameter that no query has", mutation{param + ".name", "a&b", "queryParams[0].name"}),
		Entry("with a source of no labels", mutation{match + "source", m("labels", m()), "at least 1"}),
		Entry("with a source that no pod has", mutation{match + "source", m("labels", m("app", "a b")), "source must be labels"}),
		Entry("with a change of nothing", mutation{"spec.rules.0.requestHeaders", m(), "it changes nothing"}),
		Entry("with a change of what frames messages", mutation{"spec.rules.0.requestHeaders.set.0.name", "Content-Length", "frames the message"}),
		Entry("with a host as a header", mutation{"spec.rules.0.requestHeaders.remove.0", "host", "rewrite.hostname"}),
		Entry("with a header that is none", mutation{"spec.rules.0.requestHeaders.set.0.name", "a b", "set[0].name"}),
		Entry("with a value of two lines", mutation{"spec.rules.0.requestHeaders.set.0.value", "a\r\nb: c", "set[0].value"}),
		Entry("with a header set twice", mutation{"spec.rules.0.requestHeaders.set", []any{m("name", "a", "value", "1"), m("name", "a", "value", "2")}, "Duplicate value"}),
		Entry("with a rewrite of nothing", mutation{"spec.rules.0.rewrite", m(), "rewrites nothing"}),
		Entry("with a host of two hosts", mutation{"spec.rules.0.rewrite.hostname", "a b", "rewrite.hostname"}),
		Entry("with a replacement of another kind", mutation{"spec.rules.0.rewrite.path", m("type", "ReplaceFullPath", "replacePrefixMatch", "/"), "the type names the one field"}),
		Entry("with two replacements", mutation{"spec.rules.0.rewrite.path", m("type", "ReplaceFullPath", "replaceFullPath", "/a", "replacePrefixMatch", "/"), "the type names the one field"}),
		Entry("with a replacement that has a query", mutation{"spec.rules.0.rewrite.path.replacePrefixMatch", "/a?b", "replacePrefixMatch"}),
		Entry("with a prefix that no match has", mutation{match + "path", nil, "needs a path of type PathPrefix"}),
		Entry("with a prefix of an exact path", mutation{"spec.rules.1.matches.0.path.type", "Exact", "needs a path of type PathPrefix"}),
		Entry("with a prefix and no matches", mutation{"spec.rules.1.matches", nil, "needs a path of type PathPrefix"}),
		Entry("with a redirect to where it comes from", mutation{"spec.rules.1.redirect", m("statusCode", int64(302)), "back to where the request came from"}),
		Entry("with a redirect that is none", mutation{"spec.rules.1.redirect.statusCode", int64(200), "Unsupported value"}),
		Entry("with a redirect of another scheme", mutation{"spec.rules.1.redirect.scheme", "ftp", "Unsupported value"}),
		Entry("with a redirect that goes on", mutation{"spec.rules.1.backendRefs", []any{m("name", "shop")}, "beside them a rule has only"}),
		Entry("with two answers", mutation{"spec.rules.1.respond", m("status", int64(404)), "redirect or respond, not both"}),
		Entry("with an answer that is none", mutation{"spec.rules.1", m("respond", m("status", int64(101))), "greater than or equal to 200"}),
		Entry("with an answer that is tried again", mutation{"spec.rules.1", m("respond", m("status", int64(404)), "timeout", "1s"), "beside them a rule has only"}),
		Entry("with a limit of nothing", mutation{"spec.rules.2.limit.requests", int64(0), "greater than or equal to 1"}),
		Entry("with a limit of no time", mutation{"spec.rules.2.limit.interval", "0s", "from 1ms to 24h"}),
		Entry("with one backend to stick to", mutation{"spec.rules.0.backendRefs", []any{m("name", "shop")}, "at least two backendRefs"}),
		Entry("with the method to stick to", mutation{"spec.rules.0.sticky.header", ":method", "sticky.header"}),
		Entry("with an empty upstream", mutation{"spec.upstream", m(), "at least one field"}),
		Entry("with no time to connect", mutation{up + "connectTimeout", "0s", "from 1ms to 1m"}),
		Entry("with a policy that nobody knows", mutation{balance + ".policy", "LeastConnections", "Unsupported value"}),
		Entry("with choices of another policy", mutation{balance, m("choices", int64(2)), "belong to the policy LeastRequest"}),
		Entry("with one choice", mutation{balance + ".choices", int64(1), "greater than or equal to 2"}),
		Entry("with a hash of nothing", mutation{balance, m("policy", "RingHash"), "which need them"}),
		Entry("with a hash of another policy", mutation{balance, m("policy", "Random", "hashHeaders", []any{"uid"}), "hashHeaders belong to"}),
		Entry("with a slow start of another policy", mutation{balance, m("policy", "Random", "slowStart", m("window", "1m")), "slowStart belongs to"}),
		Entry("with a panic above all", mutation{balance + ".panicThreshold", "101%", "panicThreshold"}),
		Entry("with outliers that nobody looks for", mutation{up + "outlierDetection", m("consecutiveErrors", int64(0)), "it watches nothing"}),
		Entry("with nobody who is ejected", mutation{outliers + "maxEjected", "0%", "maxEjected"}),
		Entry("with more than all", mutation{outliers + "maxEjected", int64(101), "from 1% to 100%"}),
		Entry("with ejections upside down", mutation{outliers + "maxEjectionTime", "1s", "must not be longer"}),
		Entry("with a factor that is none", mutation{outliers + "successRate.stdevFactor", "much", "stdevFactor"}),
		Entry("with breakers without a limit", mutation{up + "circuitBreakers", m(), "no limit is set"}),
		Entry("with a breaker that is always open", mutation{up + "circuitBreakers.maxRequests", int64(0), "greater than or equal to 1"}),
		Entry("with checks all the time", mutation{check + "interval", "10ms", "from 1s to 1h"}),
		Entry("with checks that outlast their interval", mutation{check + "timeout", "6s", "must not be longer than interval"}),
		Entry("with a check of no path", mutation{check + "http.path", "healthz", "http.path"}),
	)
})
