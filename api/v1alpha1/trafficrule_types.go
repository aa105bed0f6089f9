package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// TrafficRule says where the requests for a Service go: by service key, method and headers, to which pods, in which
// proportion. It is the same for every protocol that a sidecar routes.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=tr,categories=axle
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Resolved",type=string,JSONPath=`.status.conditions[?(@.type=="ResolvedRefs")].status`,priority=1
// +kubebuilder:printcolumn:name="Sidecars",type=integer,JSONPath=`.status.proxies.total`,priority=1
// +kubebuilder:printcolumn:name="Acked",type=integer,JSONPath=`.status.proxies.acked`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type TrafficRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   TrafficRuleSpec   `json:"spec"`
	Status TrafficRuleStatus `json:"status,omitempty"`
}

// TrafficRuleSpec is what its owner wants.
//
// +kubebuilder:validation:XValidation:rule="has(self.rules) || has(self.upstream)",message="a TrafficRule needs rules, upstream or both"
type TrafficRuleSpec struct {
	// ParentRefs are the Services, in the same namespace, whose requests the rule is about.
	//
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(p, self.exists_one(q, q.name == p.name && (has(q.port) ? q.port : 0) == (has(p.port) ? p.port : 0)))",message="two parentRefs are the same: remove one, or give them different ports"
	ParentRefs []ParentRef `json:"parentRefs"`

	// Rules in which requests are looked up. The most specific match wins, whatever its place here; see Match.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Rules []Rule `json:"rules,omitempty"`

	// Upstream says how callers use the endpoints of the parents, whichever rule sends them there. Of several TrafficRules with an
	// upstream for one port of a Service the oldest is in force.
	//
	// +optional
	Upstream *Upstream `json:"upstream,omitempty"`
}

// ParentRef is a Service in the same namespace, or one port of it.
type ParentRef struct {
	// Kind of the parent. Only Services are known.
	//
	// +optional
	// +kubebuilder:default=Service
	Kind ParentKind `json:"kind,omitempty"`

	// Name of the Service.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`

	// Port of the Service: the rule is only for the service keys whose requests go to it. Default: all.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// ParentKind is the kind of a parent.
//
// +kubebuilder:validation:Enum=Service
type ParentKind string

// ParentService is the only ParentKind.
const ParentService ParentKind = "Service"

// Rule says where the requests that it matches go.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.redirect) && has(self.respond))",message="a rule has redirect or respond, not both: remove one"
// +kubebuilder:validation:XValidation:rule="!(has(self.redirect) || has(self.respond)) || !(has(self.backendRefs) || has(self.mirror) || has(self.timeout) || has(self.fault) || has(self.retry) || has(self.requestHeaders) || has(self.responseHeaders) || has(self.rewrite) || has(self.sticky))",message="redirect and respond answer a request, which then goes nowhere: beside them a rule has only name, matches and limit"
// +kubebuilder:validation:XValidation:rule="!(has(self.rewrite) && has(self.rewrite.path) && self.rewrite.path.type == 'ReplacePrefixMatch' || has(self.redirect) && has(self.redirect.path) && self.redirect.path.type == 'ReplacePrefixMatch') || has(self.matches) && size(self.matches) > 0 && self.matches.all(m, has(m.path) && m.path.type == 'PathPrefix')",message="ReplacePrefixMatch needs a path of type PathPrefix in every match of the rule"
// +kubebuilder:validation:XValidation:rule="!has(self.sticky) || has(self.backendRefs) && size(self.backendRefs) > 1",message="sticky needs at least two backendRefs to choose from"
type Rule struct {
	// Name of the rule, for people.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// Matches of which at least one has to fit. Default: every request.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Matches []Match `json:"matches,omitempty"`

	// BackendRefs take the requests, in proportion to their weights. Default: the parent.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || self.exists(b, !has(b.weight) || b.weight > 0)",message="at least one backendRef needs a weight above 0: with none, every request would fail"
	BackendRefs []BackendRef `json:"backendRefs,omitempty"`

	// Mirror sends copies of requests somewhere else and forgets the answers.
	//
	// +optional
	Mirror *Mirror `json:"mirror,omitempty"`

	// Timeout of a whole request, retries included. Default: what the request says of itself, else the sidecar's own.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('1h')",message="timeout must be from 1ms to 1h: leave it out for no timeout of the rule's own"
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// Fault spoils some requests on purpose.
	//
	// +optional
	Fault *Fault `json:"fault,omitempty"`

	// Retry sends requests again that have failed. Default: those that have reached no endpoint, twice.
	//
	// +optional
	Retry *Retry `json:"retry,omitempty"`

	// RequestHeaders changes the requests' headers, ResponseHeaders the answers'. Only HTTP has it: what Bolt and Dubbo carry goes on as
	// it came.
	//
	// +optional
	RequestHeaders *HeaderModifier `json:"requestHeaders,omitempty"`

	// ResponseHeaders changes the headers of the endpoints' answers. Only HTTP has it.
	//
	// +optional
	ResponseHeaders *HeaderModifier `json:"responseHeaders,omitempty"`

	// Rewrite changes what requests ask for. Only HTTP has it.
	//
	// +optional
	Rewrite *Rewrite `json:"rewrite,omitempty"`

	// Redirect answers requests with another address. Only HTTP has it: the rule is for no other service keys.
	//
	// +optional
	Redirect *Redirect `json:"redirect,omitempty"`

	// Respond answers requests with a status.
	//
	// +optional
	Respond *Respond `json:"respond,omitempty"`

	// Limit of the requests. It is local: each sidecar of a caller counts by itself, and each match and service key of the rule is
	// counted alone.
	//
	// +optional
	Limit *Limit `json:"limit,omitempty"`

	// Sticky sends requests with the same value of a header to the same backendRef, as long as the backendRefs stay as they are.
	//
	// +optional
	Sticky *Sticky `json:"sticky,omitempty"`

	// Fallback is what happens to the part of a backendRef that cannot take it: its subset has no ready pod, or its
	// Service or port does not exist.
	//
	// +optional
	// +kubebuilder:default=Fail
	Fallback Fallback `json:"fallback,omitempty"`
}

// Fallback is what happens to requests for a backend that cannot take them.
//
// +kubebuilder:validation:Enum=Fail;DefaultBackend
type Fallback string

// The values of Fallback.
const (
	// FallbackFail lets those requests fail.
	FallbackFail Fallback = "Fail"
	// FallbackDefaultBackend sends them to all pods of the backend's Service, or to the parent when there is no such Service.
	FallbackDefaultBackend Fallback = "DefaultBackend"
)

// BackendTarget is a Service in the same namespace, or a part of its pods.
type BackendTarget struct {
	// Name of the Service.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`

	// Port of the Service. Default: where that Service's own requests of the same protocol go.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// Subset are labels that pods of the Service must have to be meant. Default: all of its pods.
	//
	// +optional
	// +mapType=atomic
	// +kubebuilder:validation:MaxProperties=4
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && self[k].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$'))",message="subset must be labels as pods have them: names and values of at most 63 letters, digits, dashes, dots and underscores"
	Subset map[string]SubsetValue `json:"subset,omitempty"`
}

// SubsetValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
type SubsetValue string

// BackendRef takes a part of the requests.
type BackendRef struct {
	BackendTarget `json:",inline"`

	// Weight relative to the sum of all: one in a thousand is 1 beside 999.
	//
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Weight *int32 `json:"weight,omitempty"`
}

// Share is the weight, the default applied.
func (b BackendRef) Share() int32 {
	if b.Weight == nil {
		return 1
	}
	return *b.Weight
}

// Mirror sends copies of requests somewhere else. Their answers are dropped, and nothing that happens to a copy has an
// effect on the request.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.percent) && has(self.fraction))",message="a mirror has percent or fraction, not both: remove one"
type Mirror struct {
	// BackendRef gets the copies.
	BackendRef BackendTarget `json:"backendRef"`

	// Percent of the requests that are copied. Default, without a fraction: 100.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent *int32 `json:"percent,omitempty"`

	// Fraction of the requests that are copied, for less than one in a hundred.
	//
	// +optional
	Fraction *Fraction `json:"fraction,omitempty"`
}

// Fraction is a part of the whole. It is applied to the millionth.
//
// +kubebuilder:validation:XValidation:rule="self.numerator <= (has(self.denominator) ? self.denominator : 100)",message="numerator must not be greater than denominator (default 100)"
type Fraction struct {
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Numerator int32 `json:"numerator"`

	// +optional
	// +kubebuilder:default=100
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Denominator int32 `json:"denominator,omitempty"`
}

// million is what the parts of a Mirror are counted in.
const million = 1_000_000

// Parts is how many of a million requests are copied, the defaults applied.
func (m Mirror) Parts() int32 {
	switch {
	case m.Fraction != nil:
		whole := int64(m.Fraction.Denominator)
		if whole <= 0 {
			whole = 100
		}
		n := int64(m.Fraction.Numerator)
		return int32(min((n*million+whole/2)/whole, million)) //nolint:gosec // at most a million
	case m.Percent != nil:
		return *m.Percent * (million / 100)
	}
	return million
}
