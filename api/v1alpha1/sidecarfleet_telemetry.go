package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Telemetry is what the sidecars of a fleet tell of requests, beside their metrics. Default: nothing.
type Telemetry struct {
	// AccessLog is a line of JSON for each request, in the log of the sidecar's container.
	//
	// +optional
	AccessLog *AccessLog `json:"accessLog,omitempty"`

	// Tracing exports the spans of requests by OTLP.
	//
	// +optional
	Tracing *Tracing `json:"tracing,omitempty"`
}

// AccessLog says which requests are logged when they have ended.
type AccessLog struct {
	// Enabled logs requests, all of them without the fields below.
	//
	// +optional
	// +kubebuilder:default=false
	Enabled bool `json:"enabled,omitempty"`

	// OnlyErrors leaves out what has ended well. With slowerThan, what is either is logged.
	//
	// +optional
	OnlyErrors bool `json:"onlyErrors,omitempty"`

	// SlowerThan leaves out what was faster, like 500ms.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('1h')",message="slowerThan must be from 1ms to 1h"
	SlowerThan *metav1.Duration `json:"slowerThan,omitempty"`

	// SamplePercent of the requests are looked at, like 1% or 0.01%. Default: all.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=9
	// +kubebuilder:validation:Pattern=`^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$`
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? !self.matches('^0{1,2}([.]0{1,4})?%$') : int(self) >= 1 && int(self) <= 100",message="samplePercent is above 0% and at most 100%: to log nothing, set enabled to false"
	SamplePercent *intstr.IntOrString `json:"samplePercent,omitempty"`
}

// Parts is how many of a million requests are looked at.
func (l AccessLog) Parts() int32 { return millionths(l.SamplePercent, million) }

// Tracing says where the spans of requests go, and which requests have one. A request whose trace context says whether it is sampled
// is taken at its word.
type Tracing struct {
	// Endpoint is the URL of a collector that takes traces by OTLP over HTTP, like http://otel.observability:4318/v1/traces. It has no
	// user, query or fragment: the collector gets no credentials.
	//
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https?://[^/?#@\s]+/[^?#\s]*$`
	// +kubebuilder:validation:XValidation:rule="isURL(self)",message="endpoint is no URL: use one as http://otel.observability:4318/v1/traces"
	Endpoint string `json:"endpoint"`

	// ServiceName is what the spans are shown under. Default: each pod's label app.kubernetes.io/name, else its label app, else the
	// name of its workload.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$`
	ServiceName string `json:"serviceName,omitempty"`

	// SamplePercent of the requests that bring no context, or one that leaves it open, get a span, like 1% or 0.01%. Default: none.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=9
	// +kubebuilder:validation:Pattern=`^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$`
	// +kubebuilder:validation:XValidation:rule="type(self) == string || int(self) >= 0 && int(self) <= 100",message="samplePercent is from 0% to 100%"
	SamplePercent *intstr.IntOrString `json:"samplePercent,omitempty"`
}

// Parts is how many of a million requests without a context get a span.
func (t Tracing) Parts() int32 { return millionths(t.SamplePercent, 0) }

// Overload says what a sidecar leaves out when it is short of something. Its fields are those of a sidecar's own configuration.
type Overload struct {
	// Disabled does nothing, whatever happens.
	//
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// Interval between two looks. Default: 1s. It is a quarter when something is short, or nearly.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('20ms') && duration(self) <= duration('1m')",message="interval must be from 20ms to 1m"
	Interval *metav1.Duration `json:"interval,omitempty"`

	// Memory that is no garbage, of what the container may have. The defaults are 70, 80, 82, 88 and 0.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="[has(self.closeIdle) ? self.closeIdle : 70, has(self.refuseClients) ? self.refuseClients : 80, has(self.shedLow) ? self.shedLow : 82, has(self.shedDefault) ? self.shedDefault : 88, has(self.shedHigh) ? self.shedHigh : 0].filter(p, p > 0).isSorted()",message="each of closeIdle, refuseClients, shedLow, shedDefault and shedHigh must be at least the one before it, or 0; without a value they are 70, 80, 82, 88 and 0"
	Memory *OverloadSteps `json:"memory,omitempty"`

	// Descriptors, of RLIMIT_NOFILE. The defaults are 80, 90, 95, 0 and 0.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="[has(self.closeIdle) ? self.closeIdle : 80, has(self.refuseClients) ? self.refuseClients : 90, has(self.shedLow) ? self.shedLow : 95, has(self.shedDefault) ? self.shedDefault : 0, has(self.shedHigh) ? self.shedHigh : 0].filter(p, p > 0).isSorted()",message="each of closeIdle, refuseClients, shedLow, shedDefault and shedHigh must be at least the one before it, or 0; without a value they are 80, 90, 95, 0 and 0"
	Descriptors *OverloadSteps `json:"descriptors,omitempty"`

	// CPU is the time of the busiest event loop. The defaults are 98, 0 and 0.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="[has(self.shedLow) ? self.shedLow : 98, has(self.shedDefault) ? self.shedDefault : 0, has(self.shedHigh) ? self.shedHigh : 0].filter(p, p > 0).isSorted()",message="each of shedLow, shedDefault and shedHigh must be at least the one before it, or 0; without a value they are 98, 0 and 0"
	CPU *OverloadShedding `json:"cpu,omitempty"`
}

// OverloadSteps are the percentages of a resource at which something is done; 0 is never. What is done at one is done above it, too.
type OverloadSteps struct {
	// CloseIdle closes connections that have no request.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	CloseIdle *int32 `json:"closeIdle,omitempty"`

	// RefuseClients refuses new ones.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	RefuseClients *int32 `json:"refuseClients,omitempty"`

	OverloadShedding `json:",inline"`
}

// OverloadShedding are the percentages of a resource at which requests are answered with an error; 0 is never.
type OverloadShedding struct {
	// ShedLow leaves out requests of low priority.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	ShedLow *int32 `json:"shedLow,omitempty"`

	// ShedDefault leaves out those of the default priority, too.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	ShedDefault *int32 `json:"shedDefault,omitempty"`

	// ShedHigh leaves out all.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	ShedHigh *int32 `json:"shedHigh,omitempty"`
}
