package v1alpha1

import (
	"math"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Fault spoils some requests on purpose: first the delay, then the answer.
//
// +kubebuilder:validation:XValidation:rule="has(self.delay) || has(self.abort)",message="a fault needs a delay or an abort: leave fault out for none"
type Fault struct {
	// Delay lets requests wait before anything else happens to them. The rule's timeout begins after it.
	//
	// +optional
	Delay *FaultDelay `json:"delay,omitempty"`

	// Abort answers requests in place of their endpoint.
	//
	// +optional
	Abort *FaultAbort `json:"abort,omitempty"`
}

// FaultDelay lets requests wait.
type FaultDelay struct {
	// Percent of the requests that wait, like 1% or 0.01%. Default: all.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=9
	// +kubebuilder:validation:Pattern=`^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$`
	// +kubebuilder:validation:XValidation:rule="type(self) == string || int(self) >= 0 && int(self) <= 100",message="percent is from 0% to 100%"
	Percent *intstr.IntOrString `json:"percent,omitempty"`

	// Duration of the wait.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('1h')",message="duration must be from 1ms to 1h"
	Duration metav1.Duration `json:"duration"`
}

// FaultAbort answers requests in place of their endpoint.
type FaultAbort struct {
	// Percent of the requests that are answered, like 1% or 0.01%. Default: all.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=9
	// +kubebuilder:validation:Pattern=`^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$`
	// +kubebuilder:validation:XValidation:rule="type(self) == string || int(self) >= 0 && int(self) <= 100",message="percent is from 0% to 100%"
	Percent *intstr.IntOrString `json:"percent,omitempty"`

	// Status is HTTP's. Bolt clients get what means the same: 404 that there is no processor, 429 and 503 that the server is busy,
	// 502 a communication error, 408 and 504 a timeout, any other an error.
	//
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	Status int32 `json:"status"`
}

// Retry says when a request is sent again: as long as all of it is kept, which is Bolt requests up to 1 MiB and HTTP requests
// whose body is empty or, up to 64 KiB, has come with the head; nothing of an answer has reached the client; and the budget and
// the rule's timeout allow it. It goes to another endpoint when there is one.
//
// +kubebuilder:validation:XValidation:rule="!has(self.hedge) || !self.hedge || has(self.perTryTimeout) && (!has(self.attempts) || self.attempts >= 1)",message="hedge needs perTryTimeout, and attempts of at least 1"
// +kubebuilder:validation:XValidation:rule="!has(self.hedge) || !self.hedge || has(self.retryOn) && self.retryOn.exists(r, r in ['Reset', 'GatewayError', 'ServerError']) || has(self.statuses) && 504 in self.statuses",message="hedge needs slow tries to be retried: add Reset, GatewayError or ServerError to retryOn"
// +kubebuilder:validation:XValidation:rule="(has(self.retryOn) && size(self.retryOn) > 0) || (has(self.statuses) && size(self.statuses) > 0)",message="a retry needs something to retry on: set retryOn or statuses"
type Retry struct {
	// Attempts is how often a request is sent again at most.
	//
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9
	Attempts *int32 `json:"attempts,omitempty"`

	// RetryOn lists what to retry on. (A field called on would be true in YAML.)
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=5
	RetryOn []RetryOn `json:"retryOn,omitempty"`

	// Statuses are further HTTP statuses to retry on; Bolt's are taken for the one that means the same.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Minimum=400
	// +kubebuilder:validation:items:Maximum=599
	Statuses []int32 `json:"statuses,omitempty"`

	// Methods says whether requests are sent again that may have been processed and may do something twice: HTTP's POST and PATCH
	// and all calls of RPC. With Idempotent those are only sent again when nothing of them was processed.
	//
	// +optional
	// +kubebuilder:default=Idempotent
	Methods RetryMethods `json:"methods,omitempty"`

	// PerTryTimeout bounds each try. Default: only the rule's timeout does.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('1h')",message="perTryTimeout must be from 1ms to 1h"
	PerTryTimeout *metav1.Duration `json:"perTryTimeout,omitempty"`

	// Hedge waits on for a try that has taken perTryTimeout, and sends another beside it, to another endpoint when there is one, as
	// long as a retry would be allowed. The first answer counts that is not one to retry on; the other try is called off.
	//
	// +optional
	Hedge bool `json:"hedge,omitempty"`

	// Backoff before the first retry. It doubles with each, up to ten times, and a random part of it is waited. Default: 25ms.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('1m')",message="backoff must be from 1ms to 1m"
	Backoff *metav1.Duration `json:"backoff,omitempty"`

	// Budget is which part of the requests that a sidecar has open by this rule may be retries, three in any case. Requests that
	// have reached no endpoint need none.
	//
	// +optional
	// +kubebuilder:default="20%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:Pattern=`^(100|[1-9][0-9]?)%$`
	// +kubebuilder:validation:XValidation:rule="type(self) == string || int(self) >= 1 && int(self) <= 100",message="budget is from 1% to 100%"
	Budget *intstr.IntOrString `json:"budget,omitempty"`
}

// RetryOn is a reason to send a request again.
//
// +kubebuilder:validation:Enum=ConnectFailure;Reset;Busy;GatewayError;ServerError
type RetryOn string

// The values of RetryOn.
const (
	// RetryConnectFailure: no endpoint was reached.
	RetryConnectFailure RetryOn = "ConnectFailure"
	// RetryReset: the endpoint has ended the connection, or taken too long, before the first byte of an answer.
	RetryReset RetryOn = "Reset"
	// RetryBusy: a Bolt server is busy; HTTP status 429 or 503.
	RetryBusy RetryOn = "Busy"
	// RetryGatewayError: an HTTP status of 502, 503 or 504, ConnectFailure or Reset.
	RetryGatewayError RetryOn = "GatewayError"
	// RetryServerError: an HTTP status of 500 to 599, ConnectFailure or Reset.
	RetryServerError RetryOn = "ServerError"
)

// RetryMethods says which requests may be sent again.
//
// +kubebuilder:validation:Enum=Idempotent;All
type RetryMethods string

// The values of RetryMethods.
const (
	RetryIdempotent RetryMethods = "Idempotent"
	RetryAll        RetryMethods = "All"
)

// Retries is how often a request is sent again, the default applied.
func (r Retry) Retries() int32 {
	if r.Attempts == nil {
		return 1
	}
	return *r.Attempts
}

// BudgetPercent is the budget in percent; 0 leaves it to the sidecar.
func (r Retry) BudgetPercent() int32 {
	return millionths(r.Budget, 0) / (million / 100)
}

// Parts is how many of a million requests wait.
func (d FaultDelay) Parts() int32 { return millionths(d.Percent, million) }

// Parts is how many of a million requests are answered.
func (a FaultAbort) Parts() int32 { return millionths(a.Percent, million) }

// millionths reads a percentage: a number of them, or a text like 0.5%.
func millionths(p *intstr.IntOrString, byDefault int32) int32 {
	if p == nil {
		return byDefault
	}
	percent := float64(p.IntVal)
	if p.Type == intstr.String {
		var err error
		if percent, err = strconv.ParseFloat(strings.TrimSuffix(p.StrVal, "%"), 64); err != nil {
			return 0 // the schema takes none
		}
	}
	return int32(math.Round(min(max(percent, 0), 100) * million / 100))
}
