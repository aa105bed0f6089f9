package v1alpha1

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PodDesired is the level-triggered wish for one pod, in DesiredAnnotation.
// Every operator replica relays it to the sidecars of that pod.
type PodDesired struct {
	// Fleet is the SidecarFleet that owns the pod.
	Fleet string `json:"fleet"`
	// Generation that is to serve. A sidecar of this generation that does not serve yet takes over from Predecessor.
	Generation int64 `json:"generation"`
	// Version is the name of the SidecarVersion that Generation runs.
	Version string `json:"version"`
	// Predecessor is the generation that serves now and hands over; 0 when nothing serves and Generation starts cold.
	Predecessor int64 `json:"predecessor,omitempty"`
	// Begin lets the handover from Predecessor to Generation start. Without it both wait.
	Begin bool `json:"begin,omitempty"`
	// Leave asks the serving sidecar to let its callers go back to the direct way and to exit.
	Leave bool `json:"leave,omitempty"`
	// Ports are the application ports that the sidecar serves; see PortSpec for the defaults already applied.
	Ports []PortSpec `json:"ports,omitempty"`
	// Since is when the controller last changed Generation or Begin; the progress deadline counts from it.
	Since *metav1.Time `json:"since,omitempty"`
	// Failed is the last attempt at another generation that ended badly; nil when there was none.
	Failed *PodFailure `json:"failed,omitempty"`
	// Confirm asks the operator's replica that the serving sidecar is connected to whether it is: that writes the same into PodStatus.Confirmed.
	// It is when it was asked, in Unix seconds.
	Confirm int64 `json:"confirm,omitempty"`
	// Crashes counts what broke down lately; nil when nothing did.
	Crashes *PodCrashes `json:"crashes,omitempty"`
}

// PodCrashes counts how often sidecars of one version broke down in a pod while they served: proxies that their supervisor restarted, and
// slots that died and were replaced by the other one.
type PodCrashes struct {
	// Version that they ran.
	Version string `json:"version"`
	// Since is when the count began. It begins anew after each progress deadline.
	Since metav1.Time `json:"since"`
	// Slots that died since then.
	Slots int64 `json:"slots,omitempty"`
	// Generation that has served since then, and its Restarts before that, which do not count.
	Generation int64 `json:"generation,omitempty"`
	Restarts   int64 `json:"restarts,omitempty"`
}

// PodSlots says which generation each slot of a pod is, and which one is to serve. A slot knows itself from here: its image is
// changed in the same patch.
type PodSlots struct {
	// Serving is the generation that is to serve when nobody does: after a cold start of the whole pod. 0 means that nobody is to.
	// A slot whose generation is higher is a candidate, a slot whose generation is lower idles.
	Serving int64 `json:"serving"`
	// A and B are the slots.
	A PodSlot `json:"a"`
	B PodSlot `json:"b"`
}

// PodSlot is one slot.
type PodSlot struct {
	// Generation is unique in the pod's life and only grows.
	Generation int64 `json:"generation"`
	// Version is the name of the SidecarVersion whose image the slot has.
	Version string `json:"version"`
}

// PodFailure is an attempt to start a generation, or to hand over to it, that did not succeed.
type PodFailure struct {
	Generation int64 `json:"generation"`
	// Version that the generation should have brought.
	Version string `json:"version"`
	// Attempt is the fleet's status.attempt that it was part of: a later one tries again.
	Attempt int64 `json:"attempt"`
	// Message says, for a person, what happened and where to look.
	Message string `json:"message,omitempty"`
}

// Phase of a pod's serving sidecar.
type Phase string

// The phases that a sidecar reports.
const (
	PhaseStarting    Phase = "Starting"    // connected, does not serve yet
	PhaseServing     Phase = "Serving"     // accepts and forwards
	PhaseHandingOver Phase = "HandingOver" // between HELLO and DONE
	PhaseLeaving     Phase = "Leaving"     // callers are going back to the direct way
	PhaseLeft        Phase = "Left"        // nothing goes through it any more
)

// PodStatus is what the sidecars of a pod last reported, in StatusAnnotation.
type PodStatus struct {
	// Joined is the container whose join token was used last; a token is good once.
	Joined string `json:"joined,omitempty"`
	// Term counts the cold starts of a pod with slots, as its lock file does. What a later term says outweighs an earlier one,
	// whatever the generations. It is 0 in place.
	Term int64 `json:"term,omitempty"`
	// Restarts is how often the supervisor restarted the proxy of the serving generation.
	Restarts int64 `json:"restarts,omitempty"`
	// Generation and Version of the sidecar that serves; 0 and "" when none does.
	Generation int64  `json:"generation,omitempty"`
	Version    string `json:"version,omitempty"`
	// Phase of the serving generation.
	Phase Phase `json:"phase,omitempty"`
	// Listening are the mesh ports that are open now; endpoints use them and no others.
	Listening []int32 `json:"listening,omitempty"`
	// Candidate is the generation that waits to take over, once it has connected to the operator; 0 for none.
	Candidate int64 `json:"candidate,omitempty"`
	// Confirmed is the last PodDesired.Confirm that was answered: what serves was connected then.
	Confirmed int64 `json:"confirmed,omitempty"`
	// Carrying says whether calls of the pod's own application go through the sidecar.
	Carrying bool `json:"carrying,omitempty"`
	// Handover is the last one that ended, either way.
	Handover *HandoverResult `json:"handover,omitempty"`
}

// HandoverResult says how one handover ended.
type HandoverResult struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// OK is true when To serves; false when From kept serving.
	OK bool `json:"ok"`
	// Step that the handover was in when it ended: Hello, Warm, Ready, Accept, Move or Done.
	Step string `json:"step,omitempty"`
	// Reason says, for a person, why it failed.
	Reason string `json:"reason,omitempty"`
	// Connections that moved, and that were closed because of the handover.
	Moved int64 `json:"moved"`
	Lost  int64 `json:"lost"`
	// FreezeP99Micros is how long one connection stood still, 99th percentile, in microseconds.
	FreezeP99Micros int64 `json:"freezeP99Micros,omitempty"`
	// DurationMicros is from begin to the last connection resumed, in microseconds.
	DurationMicros int64 `json:"durationMicros,omitempty"`
}

// ParseDesired reads DesiredAnnotation from a pod's annotations; nil when it is absent.
func ParseDesired(annotations map[string]string) (*PodDesired, error) {
	return parse[PodDesired](annotations, DesiredAnnotation)
}

// ParseStatus reads StatusAnnotation from a pod's annotations; nil when it is absent.
func ParseStatus(annotations map[string]string) (*PodStatus, error) {
	return parse[PodStatus](annotations, StatusAnnotation)
}

// ParseSlots reads SlotsAnnotation from a pod's annotations; nil when it is absent.
func ParseSlots(annotations map[string]string) (*PodSlots, error) {
	return parse[PodSlots](annotations, SlotsAnnotation)
}

func parse[T any](annotations map[string]string, key string) (*T, error) {
	raw, ok := annotations[key]
	if !ok || raw == "" {
		return nil, nil
	}
	v := new(T)
	if err := json.Unmarshal([]byte(raw), v); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", key, err)
	}
	return v, nil
}
