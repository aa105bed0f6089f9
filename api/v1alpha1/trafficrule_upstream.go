package v1alpha1

import (
	"math"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Upstream says how the endpoints of a Service are used. Each sidecar of a caller does that by itself: what it counts is its own.
//
// +kubebuilder:validation:XValidation:rule="has(self.connectTimeout) || has(self.balancing) || has(self.outlierDetection) || has(self.circuitBreakers) || has(self.healthCheck)",message="an upstream needs at least one field: leave it out for none"
type Upstream struct {
	// ConnectTimeout of a connection to an endpoint. Default: 1s.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('1m')",message="connectTimeout must be from 1ms to 1m"
	ConnectTimeout *metav1.Duration `json:"connectTimeout,omitempty"`

	// Balancing says which endpoint takes a request. Default: in turn. Zones are the Service's affair: spec.trafficDistribution.
	//
	// +optional
	Balancing *Balancing `json:"balancing,omitempty"`

	// OutlierDetection gives endpoints no requests for a while that answer badly. Default: none is watched.
	//
	// +optional
	OutlierDetection *OutlierDetection `json:"outlierDetection,omitempty"`

	// CircuitBreakers refuse what is too much: HTTP status 503, a Bolt or Dubbo server that is busy. Default: nothing is.
	//
	// +optional
	CircuitBreakers *CircuitBreakers `json:"circuitBreakers,omitempty"`

	// HealthCheck asks the endpoints whether they are well. Default: none is asked.
	//
	// +optional
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`
}

// Balancing says which endpoint takes a request.
//
// +kubebuilder:validation:XValidation:rule="!has(self.choices) || self.policy == 'LeastRequest'",message="choices belong to the policy LeastRequest"
// +kubebuilder:validation:XValidation:rule="has(self.hashHeaders) == (self.policy in ['RingHash', 'Maglev'])",message="hashHeaders belong to the policies RingHash and Maglev, which need them"
// +kubebuilder:validation:XValidation:rule="!has(self.slowStart) || self.policy in ['RoundRobin', 'LeastRequest']",message="slowStart belongs to the policies RoundRobin and LeastRequest"
type Balancing struct {
	// Policy: RoundRobin takes the endpoints in turn; LeastRequest, of some that are drawn, the one with the fewest open requests; PeakEWMA,
	// of two that are drawn, the one with the least recent latency times open requests; Random draws one; RingHash and Maglev go by
	// a hash of headers, so that requests with the same values go to the same endpoint.
	//
	// +optional
	// +kubebuilder:default=RoundRobin
	Policy BalancingPolicy `json:"policy,omitempty"`

	// Choices that LeastRequest compares. Default: 2.
	//
	// +optional
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=16
	Choices int32 `json:"choices,omitempty"`

	// HashHeaders are the headers whose values RingHash and Maglev hash together. A request with none of them goes to an endpoint by
	// chance.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:Pattern=`^[!#$%&'*+.^_|~0-9A-Za-z-]+$`
	HashHeaders []string `json:"hashHeaders,omitempty"`

	// SlowStart lets endpoints that join, or are well again, begin with less.
	//
	// +optional
	SlowStart *SlowStart `json:"slowStart,omitempty"`

	// PanicThreshold: when less than this part of the endpoints is well, all of them get requests. 0% never does that. Default: 50%.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:Pattern=`^(100|[0-9]{1,2})%$`
	// +kubebuilder:validation:XValidation:rule="type(self) == string || int(self) >= 0 && int(self) <= 100",message="panicThreshold is from 0% to 100%"
	PanicThreshold *intstr.IntOrString `json:"panicThreshold,omitempty"`
}

// BalancingPolicy is how an endpoint is chosen.
//
// +kubebuilder:validation:Enum=RoundRobin;LeastRequest;PeakEWMA;Random;RingHash;Maglev
type BalancingPolicy string

// The values of BalancingPolicy.
const (
	RoundRobin   BalancingPolicy = "RoundRobin"
	LeastRequest BalancingPolicy = "LeastRequest"
	PeakEWMA     BalancingPolicy = "PeakEWMA"
	Random       BalancingPolicy = "Random"
	RingHash     BalancingPolicy = "RingHash"
	Maglev       BalancingPolicy = "Maglev"
)

// SlowStart lets an endpoint's part of the requests grow.
type SlowStart struct {
	// Window is how long that takes.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="window must be from 1s to 1h"
	Window metav1.Duration `json:"window"`

	// From is the part that it begins with.
	//
	// +optional
	// +kubebuilder:default="10%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:Pattern=`^(100|[1-9][0-9]?)%$`
	// +kubebuilder:validation:XValidation:rule="type(self) == string || int(self) >= 1 && int(self) <= 100",message="from is from 1% to 100%"
	From *intstr.IntOrString `json:"from,omitempty"`
}

// OutlierDetection ejects endpoints: they get no requests for a while.
//
// +kubebuilder:validation:XValidation:rule="self.consecutiveErrors > 0 || has(self.consecutiveGatewayErrors) && self.consecutiveGatewayErrors > 0 || has(self.successRate)",message="it watches nothing: set consecutiveErrors, consecutiveGatewayErrors or successRate"
// +kubebuilder:validation:XValidation:rule="duration(self.baseEjectionTime) <= duration(self.maxEjectionTime)",message="baseEjectionTime must not be longer than maxEjectionTime"
type OutlierDetection struct {
	// ConsecutiveErrors eject an endpoint: HTTP statuses of 500 and above, any Bolt or Dubbo status but success, gRPC's of a server,
	// timeouts, and connections that cannot be made or break. 0 does not count them.
	//
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	ConsecutiveErrors *int32 `json:"consecutiveErrors,omitempty"`

	// ConsecutiveGatewayErrors count only what no application has answered: connections that cannot be made or break, timeouts, HTTP
	// statuses 502 to 504. Default: 0, which does not count them.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	ConsecutiveGatewayErrors int32 `json:"consecutiveGatewayErrors,omitempty"`

	// SuccessRate ejects endpoints that are far worse than the mean of all. Default: they are not compared.
	//
	// +optional
	SuccessRate *SuccessRate `json:"successRate,omitempty"`

	// Interval between two looks at success rates.
	//
	// +optional
	// +kubebuilder:default="10s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="interval must be from 1s to 1h"
	Interval *metav1.Duration `json:"interval,omitempty"`

	// BaseEjectionTime, times the number of ejections before, is how long one lasts.
	//
	// +optional
	// +kubebuilder:default="30s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="baseEjectionTime must be from 1s to 24h"
	BaseEjectionTime *metav1.Duration `json:"baseEjectionTime,omitempty"`

	// MaxEjectionTime bounds that.
	//
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="maxEjectionTime must be from 1s to 24h"
	MaxEjectionTime *metav1.Duration `json:"maxEjectionTime,omitempty"`

	// MaxEjected is the part of the endpoints that may be ejected at a time. It rounds down: 50% of one endpoint is none.
	//
	// +optional
	// +kubebuilder:default="50%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:Pattern=`^(100|[1-9][0-9]?)%$`
	// +kubebuilder:validation:XValidation:rule="type(self) == string || int(self) >= 1 && int(self) <= 100",message="maxEjected is from 1% to 100%"
	MaxEjected *intstr.IntOrString `json:"maxEjected,omitempty"`
}

// SuccessRate compares endpoints that have had enough requests in an interval.
type SuccessRate struct {
	// Endpoints that there have to be.
	//
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=10000
	Endpoints *int32 `json:"endpoints,omitempty"`

	// Requests that each has to have had.
	//
	// +optional
	// +kubebuilder:default=100
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Requests *int32 `json:"requests,omitempty"`

	// StdevFactor is how many standard deviations below the mean are too far, like "1.9".
	//
	// +optional
	// +kubebuilder:default="1.9"
	// +kubebuilder:validation:MaxLength=6
	// +kubebuilder:validation:Pattern=`^[0-9]{1,2}(\.[0-9]{1,3})?$`
	StdevFactor string `json:"stdevFactor,omitempty"`
}

// CircuitBreakers bound what one sidecar has at the endpoints of one port, all of them together.
//
// +kubebuilder:validation:XValidation:rule="has(self.maxConnections) || has(self.maxPendingRequests) || has(self.maxRequests) || has(self.maxRetries)",message="no limit is set: leave circuitBreakers out for none"
type CircuitBreakers struct {
	// MaxConnections, open or being opened. A connection carries many requests of Bolt, Dubbo and HTTP/2, and one of HTTP/1. Each event
	// loop of a sidecar may have one in any case.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxConnections int32 `json:"maxConnections,omitempty"`

	// MaxPendingRequests that wait for a connection.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxPendingRequests int32 `json:"maxPendingRequests,omitempty"`

	// MaxRequests without an answer.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxRequests int32 `json:"maxRequests,omitempty"`

	// MaxRetries among those.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxRetries int32 `json:"maxRetries,omitempty"`
}

// HealthCheck asks every endpoint: a Bolt port with a heartbeat, an HTTP/1 port with a GET where http is set, any other by opening a
// connection. Where the endpoint's pod has a sidecar, that is who takes the connection and answers the heartbeat; a GET reaches
// the application.
//
// +kubebuilder:validation:XValidation:rule="duration(self.timeout) <= duration(self.interval)",message="timeout must not be longer than interval"
type HealthCheck struct {
	// Interval between two checks of an endpoint. Up to a fifth of it is added by chance.
	//
	// +optional
	// +kubebuilder:default="5s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="interval must be from 1s to 1h"
	Interval *metav1.Duration `json:"interval,omitempty"`

	// Timeout of a check.
	//
	// +optional
	// +kubebuilder:default="1s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10ms') && duration(self) <= duration('1m')",message="timeout must be from 10ms to 1m"
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// UnhealthyThreshold is how many checks in a row have to fail. The first check decides alone.
	//
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	UnhealthyThreshold *int32 `json:"unhealthyThreshold,omitempty"`

	// HealthyThreshold is how many have to succeed.
	//
	// +optional
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	HealthyThreshold *int32 `json:"healthyThreshold,omitempty"`

	// HTTP asks HTTP/1 ports with a GET, which has to be answered with a status from 200 to 299.
	//
	// +optional
	HTTP *HTTPHealthCheck `json:"http,omitempty"`
}

// HTTPHealthCheck is a GET.
type HTTPHealthCheck struct {
	// Path to get.
	//
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/[!-~]*$`
	Path string `json:"path"`

	// Hostname to ask for. Default: the Service's own key, NAME.NAMESPACE.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Hostname string `json:"hostname,omitempty"`
}

// Percent reads a percentage, or what it is by default.
func Percent(p *intstr.IntOrString, byDefault int32) int32 {
	return millionths(p, byDefault*(million/100)) / (million / 100)
}

// Thousandths is the factor in thousandths.
func (r SuccessRate) Thousandths() int32 {
	const byDefault = 1900
	factor, err := strconv.ParseFloat(r.StdevFactor, 64)
	if err != nil { // empty; the schema takes nothing else that is none
		return byDefault
	}
	return int32(math.Round(min(max(factor, 0), 100) * 1000))
}
