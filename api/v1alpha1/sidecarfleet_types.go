package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// SidecarFleet says which pods run which version of the sidecar, and how a change of it reaches them.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=scf,categories=axle
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.version`
// +kubebuilder:printcolumn:name="Current",type=string,JSONPath=`.status.currentVersion`
// +kubebuilder:printcolumn:name="Matched",type=integer,JSONPath=`.status.pods.matched`
// +kubebuilder:printcolumn:name="Injected",type=integer,JSONPath=`.status.pods.injected`
// +kubebuilder:printcolumn:name="Updated",type=integer,JSONPath=`.status.pods.updated`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.pods.failed`
// +kubebuilder:printcolumn:name="Blocked",type=integer,JSONPath=`.status.pods.blocked`
// +kubebuilder:printcolumn:name="Progress",type=string,JSONPath=`.status.conditions[?(@.type=="Progressing")].reason`
// +kubebuilder:printcolumn:name="Degraded",type=string,JSONPath=`.status.conditions[?(@.type=="Degraded")].status`
// +kubebuilder:printcolumn:name="Slots",type=integer,JSONPath=`.status.pods.slots`,priority=1
// +kubebuilder:printcolumn:name="Moved",type=integer,JSONPath=`.status.handover.connectionsMoved`,priority=1
// +kubebuilder:printcolumn:name="Lost",type=integer,JSONPath=`.status.handover.connectionsLost`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="the name must be a DNS label: lower-case letters, digits and dashes, at most 63"
type SidecarFleet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   SidecarFleetSpec   `json:"spec"`
	Status SidecarFleetStatus `json:"status,omitempty"`
}

// SidecarFleetSpec is what its owner wants.
type SidecarFleetSpec struct {
	// Priority decides when two fleets select the same pod: the higher one, then the older one, then by name. A pod
	// that has an owner keeps it while that fleet selects it.
	//
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=-1000000
	// +kubebuilder:validation:Maximum=1000000
	Priority int32 `json:"priority,omitempty"`

	// NamespaceSelector selects among the namespaces that are labelled axlemesh.io/injection=enabled; it can only
	// narrow that label.
	//
	// +optional
	// +kubebuilder:default={matchLabels: {"axlemesh.io/injection": "enabled"}}
	// +kubebuilder:validation:XValidation:rule="(!has(self.matchLabels) || size(self.matchLabels) <= 32) && (!has(self.matchExpressions) || size(self.matchExpressions) <= 32)",message="at most 32 labels and 32 expressions"
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// PodSelector selects pods of those namespaces. Default: all. A pod labelled axlemesh.io/injection=disabled is
	// never selected.
	//
	// +optional
	// +kubebuilder:default={}
	// +kubebuilder:validation:XValidation:rule="(!has(self.matchLabels) || size(self.matchLabels) <= 32) && (!has(self.matchExpressions) || size(self.matchExpressions) <= 32)",message="at most 32 labels and 32 expressions"
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`

	// Version is the name of the SidecarVersion that the pods are to run.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Version string `json:"version"`

	// InPlace is about pods that already run.
	//
	// +optional
	// +kubebuilder:default={}
	InPlace InPlace `json:"inPlace,omitzero"`

	// Ports that the sidecars serve. Default: derived from the Services that select the pod (targetPort, appProtocol).
	//
	// +optional
	// +listType=map
	// +listMapKey=appPort
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self.all(p, self.exists_one(q, (has(q.meshPort) ? q.meshPort : q.appPort + 3000) == (has(p.meshPort) ? p.meshPort : p.appPort + 3000)))",message="two ports cannot have the same meshPort"
	// +kubebuilder:validation:XValidation:rule="self.all(p, p.takeover || !self.exists(q, q.appPort == (has(p.meshPort) ? p.meshPort : p.appPort + 3000)))",message="a meshPort cannot be another port's appPort"
	Ports []PortSpec `json:"ports,omitempty"`

	// UpdateStrategy is how a change of version reaches the pods.
	//
	// +optional
	// +kubebuilder:default={}
	UpdateStrategy UpdateStrategy `json:"updateStrategy,omitzero"`

	// Telemetry is what the sidecars tell of requests. A change applies to those that run, without a rollout.
	//
	// +optional
	Telemetry Telemetry `json:"telemetry,omitzero"`

	// Overload is what a sidecar leaves out when it is short of memory, descriptors or CPU. Default: what its fields say. A change
	// applies to sidecars that run, without a rollout.
	//
	// +optional
	Overload *Overload `json:"overload,omitempty"`

	// Paused stops everything that changes a pod. What is in a handover finishes it.
	//
	// +optional
	// +kubebuilder:default=false
	Paused bool `json:"paused,omitempty"`
}

// InPlace is about pods that already run when a fleet selects them.
type InPlace struct {
	// Enabled lets running pods get a sidecar; false takes the ones away that were added so.
	//
	// +optional
	// +kubebuilder:default=true
	Enabled *bool `json:"enabled,omitempty"`

	// RestartApp says whether an application that looks for the mesh only at its start may be restarted in place.
	//
	// +optional
	// +kubebuilder:default=Never
	RestartApp RestartApp `json:"restartApp,omitempty"`

	// MaxGenerations is how many sidecars one pod may get in its life: their entries stay in its spec. A pod that
	// reached it is counted in status.pods.blocked.
	//
	// +optional
	// +kubebuilder:default=50
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	MaxGenerations int32 `json:"maxGenerations,omitempty"`
}

// On says whether running pods are to have a sidecar, the default applied.
func (p InPlace) On() bool { return p.Enabled == nil || *p.Enabled }

// RestartApp says whether applications may be restarted.
//
// +kubebuilder:validation:Enum=Never;WhenRequired
type RestartApp string

// The values of RestartApp.
const (
	RestartNever        RestartApp = "Never"
	RestartWhenRequired RestartApp = "WhenRequired"
)

// UpdateStrategy is how a change of version reaches the pods of a fleet.
type UpdateStrategy struct {
	// MaxUpdating is how many pods may be in a handover at once, as a number or as a part of the pods of each owning
	// workload, node and zone; rounded up, at least 1.
	//
	// +optional
	// +kubebuilder:default="10%"
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^([1-9]|[1-9][0-9]|100)%$') : int(self) >= 1",message="maxUpdating is a number from 1 or a percentage from 1% to 100%"
	MaxUpdating *intstr.IntOrString `json:"maxUpdating,omitempty"`

	// Steps are the parts of the fleet that get the version one after the other. Default: all pods in one step.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:default={{percent: 100}}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self[size(self) - 1].percent == 100",message="the last step must be 100 percent"
	// +kubebuilder:validation:XValidation:rule="self.map(s, s.percent).isSorted() && self.all(s, self.exists_one(t, t.percent == s.percent))",message="each step must have a greater percentage than the one before it"
	Steps []UpdateStep `json:"steps,omitempty"`

	// Analysis is the evidence that lets a rollout go on.
	//
	// +optional
	// +kubebuilder:default={}
	Analysis Analysis `json:"analysis,omitzero"`

	// OnFailure is what happens when the evidence is against the new version. Rollback: the pods that run it go back to status.currentVersion by
	// hot upgrades, within maxUpdating, and no other pod is touched; spec.version stays, and nothing is tried again before it, spec.ports or the
	// annotation axlemesh.io/retry changes. Pause: every pod keeps what it runs.
	//
	// +optional
	// +kubebuilder:default=Rollback
	OnFailure OnFailure `json:"onFailure,omitempty"`

	// ProgressDeadlineSeconds is how long one sidecar may take to start, to connect or to take over before that counts as failed, and how long a rollout may
	// stand still before it says so (Progressing is False, ProgressDeadlineExceeded). Time in which no operator runs does not count.
	//
	// +optional
	// +kubebuilder:default=600
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=604800
	ProgressDeadlineSeconds int32 `json:"progressDeadlineSeconds,omitempty"`
}

// UpdateStep is one step of a rollout.
type UpdateStep struct {
	// Percent of the matched pods that have the version at the end of the step; rounded up.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Percent int32 `json:"percent"`

	// Pause after the step. The annotation axlemesh.io/promote=VERSION/STEP@ATTEMPT ends it before its time.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	Pause *metav1.Duration `json:"pause,omitempty"`
}

// Analysis is the evidence that lets a rollout go on.
type Analysis struct {
	// Interval is how long the pods have to serve well with the version, after the last one got it, before the rollout is complete: until then
	// status.currentVersion is the one before, and what fails is rolled back. A fleet's first version, an undo and a fleet without
	// pods do not wait. What is acted on is looked at as it happens.
	//
	// +optional
	// +kubebuilder:default="15s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	Interval *metav1.Duration `json:"interval,omitempty"`

	// FailedHandovers that are tolerated in one rollout. An upgrade that cost connections counts as one, and so do sidecars of a pod
	// that crashed three times within the progress deadline. An image that a node cannot get is never tolerated.
	//
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	FailedHandovers int32 `json:"failedHandovers,omitempty"`

	// SuccessRate in percent that the upgraded pods' requests have to keep, with up to four decimals. It is accepted and not
	// acted on: sidecars do not report requests per pod yet. Failed handovers, lost connections, crash loops, starts and images are.
	//
	// +optional
	// +kubebuilder:default="99.99"
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:Pattern=`^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)$`
	SuccessRate string `json:"successRate,omitempty"`

	// P99Increase is by how much the upgraded pods' 99th percentile of latency may grow, as a percentage. It is accepted and not
	// acted on: sidecars do not report latencies to the operator.
	//
	// +optional
	// +kubebuilder:default="50%"
	// +kubebuilder:validation:XValidation:rule="type(self) == string && self.matches('^[0-9]{1,4}%$')",message="p99Increase is a percentage, like 50%"
	P99Increase *intstr.IntOrString `json:"p99Increase,omitempty"`
}

// OnFailure is what happens to a rollout that failed.
//
// +kubebuilder:validation:Enum=Rollback;Pause
type OnFailure string

// The values of OnFailure.
const (
	OnFailureRollback OnFailure = "Rollback"
	OnFailurePause    OnFailure = "Pause"
)
