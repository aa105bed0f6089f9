package sidecarfleet

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// fleetIndex finds the pods that a fleet has, also when it no longer exists.
const fleetIndex = "axlemesh.io/fleet"

// indexFleet is the index function of fleetIndex.
func indexFleet(o client.Object) []string {
	if d, err := axlev1.ParseDesired(o.GetAnnotations()); err == nil && d != nil && d.Fleet != "" {
		return []string{d.Fleet}
	}
	return nil
}

// scene is what the cache holds when a plan is made. Its objects are the cache's and must not be changed.
type scene struct {
	seen  Observed
	fleet *axlev1.SidecarFleet // nil when it is gone
	pods  map[types.NamespacedName]*corev1.Pod
	// versions by name.
	versions map[string]*axlev1.SidecarVersion
}

// observe collects the facts for the fleet of that name.
func (r *Reconciler) observe(ctx context.Context, name string) (*scene, error) {
	var fleets axlev1.SidecarFleetList
	var versions axlev1.SidecarVersionList
	var namespaces corev1.NamespaceList
	for _, list := range []client.ObjectList{&fleets, &versions, &namespaces} {
		if err := r.Client.List(ctx, list); err != nil {
			return nil, fmt.Errorf("observe fleet %q: list %T: %w", name, list, err)
		}
	}
	all, err := claims(fleets.Items)
	if err != nil {
		return nil, err
	}
	s := &scene{pods: map[types.NamespacedName]*corev1.Pod{}, seen: Observed{Fleet: Fleet{Name: name}, Versions: versionFacts(versions.Items), Secret: len(r.PullSecrets) > 0}}
	s.versions = map[string]*axlev1.SidecarVersion{}
	for i := range versions.Items {
		s.versions[versions.Items[i].Name] = &versions.Items[i]
	}
	for i := range fleets.Items {
		if fleets.Items[i].Name == name {
			s.fleet = &fleets.Items[i]
			s.seen.Fleet = fleetFacts(s.fleet)
		}
	}
	byName := map[string]*corev1.Namespace{}
	for i := range namespaces.Items {
		byName[namespaces.Items[i].Name] = &namespaces.Items[i]
	}
	pods, err := r.candidates(ctx, name, s.fleet != nil, namespaces.Items)
	if err != nil {
		return nil, err
	}
	if s.seen.Pulls, err = r.pulls(ctx, name); err != nil {
		return nil, err
	}
	s.seen.Fleet.Prepull, s.seen.Fleet.Awake = true, r.awake
	services, err := r.services(ctx, pods)
	if err != nil {
		return nil, err
	}
	s.fill(all, byName, pods, services, r.told[name])
	return s, r.locate(ctx, s.seen.Pods)
}

// locate finds the zones of pods. Of nodes only the metadata is watched.
func (r *Reconciler) locate(ctx context.Context, pods []Pod) error {
	nodes := &metav1.PartialObjectMetadataList{}
	nodes.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NodeList"))
	if err := r.Client.List(ctx, nodes, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	zones := make(map[string]string, len(nodes.Items))
	for i := range nodes.Items {
		zones[nodes.Items[i].Name] = nodes.Items[i].Labels[corev1.LabelTopologyZone]
	}
	for i := range pods {
		pods[i].Zone = zones[pods[i].Node]
	}
	return nil
}

// candidates lists the pods that the fleet may own or have to leave: those of labelled namespaces, and those that carry its name.
func (r *Reconciler) candidates(ctx context.Context, name string, exists bool, namespaces []corev1.Namespace) ([]*corev1.Pod, error) {
	var all []*corev1.Pod
	known := map[types.UID]bool{}
	add := func(list *corev1.PodList) {
		for i := range list.Items {
			if p := &list.Items[i]; !known[p.UID] {
				known[p.UID] = true
				all = append(all, p)
			}
		}
	}
	var mine corev1.PodList
	if err := r.Client.List(ctx, &mine, client.MatchingFields{fleetIndex: name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list pods of fleet %q: %w", name, err)
	}
	add(&mine)
	for i := range namespaces {
		if !exists || !enabled(&namespaces[i]) || r.excluded(namespaces[i].Name) {
			continue
		}
		var pods corev1.PodList
		if err := r.Client.List(ctx, &pods, client.InNamespace(namespaces[i].Name), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list pods of namespace %q: %w", namespaces[i].Name, err)
		}
		add(&pods)
	}
	slices.SortFunc(all, func(a, b *corev1.Pod) int {
		if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all, nil
}

// excluded namespaces never take part, whatever their labels say.
func (r *Reconciler) excluded(namespace string) bool {
	return namespace == r.Namespace || namespace == "kube-system"
}

func (r *Reconciler) services(ctx context.Context, pods []*corev1.Pod) (map[string][]*corev1.Service, error) {
	all := map[string][]*corev1.Service{}
	for _, pod := range pods {
		if _, ok := all[pod.Namespace]; ok {
			continue
		}
		var list corev1.ServiceList
		if err := r.Client.List(ctx, &list, client.InNamespace(pod.Namespace), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list services of namespace %q: %w", pod.Namespace, err)
		}
		all[pod.Namespace] = []*corev1.Service{}
		for i := range list.Items {
			all[pod.Namespace] = append(all[pod.Namespace], &list.Items[i])
		}
	}
	return all, nil
}

// fill sorts out which pods are this fleet's affair, and states their facts.
func (s *scene) fill(all []claim, namespaces map[string]*corev1.Namespace, pods []*corev1.Pod, services map[string][]*corev1.Service, told map[types.UID]string) {
	name := s.seen.Fleet.Name
	rivals := map[string]bool{}
	for _, pod := range pods {
		fact := podFacts(pod)
		has := ""
		if fact.Desired != nil {
			has = fact.Desired.Fleet
		}
		ns := namespaces[pod.Namespace]
		if ns == nil {
			ns = &corev1.Namespace{}
		}
		owns, selecting := owner(all, ns, pod, has)
		switch {
		case owns == name:
			fact.Wanted = s.seen.Fleet.InPlace || fact.HasSlots
		case owns == "" && (has == name || has == "" && disabled(pod)):
		default:
			if slices.Contains(selecting, name) {
				rivals[owns] = true
				s.seen.Contested++
			}
			continue
		}
		if s.fleet != nil {
			fact.Ports = ports(s.fleet.Spec.Ports, pod, services[pod.Namespace])
		}
		fact.Told = told[fact.UID]
		s.pods[fact.NamespacedName] = pod
		s.seen.Pods = append(s.seen.Pods, fact)
	}
	for r := range rivals {
		s.seen.Rivals = append(s.seen.Rivals, r)
	}
	slices.Sort(s.seen.Rivals)
}

func disabled(pod *corev1.Pod) bool {
	return pod.Labels[axlev1.InjectionLabel] == axlev1.InjectionDisabled
}

// podFacts states what a pod object says by itself. Annotations that cannot be read count as absent: they are written anew.
func podFacts(pod *corev1.Pod) Pod {
	desired, err := axlev1.ParseDesired(pod.Annotations)
	if err != nil {
		desired = nil
	}
	status, err := axlev1.ParseStatus(pod.Annotations)
	if err != nil {
		status = nil
	}
	slots, err := axlev1.ParseSlots(pod.Annotations)
	if err != nil {
		slots = nil
	}
	if desired != nil && desired.Since == nil && sidecars.HasSlots(pod) {
		desired.Since = pod.Status.StartTime // the webhook does not know when its pod will run
	}
	return Pod{
		HasSlots: sidecars.HasSlots(pod), Slots: slots, Secret: len(pod.Spec.ImagePullSecrets) > 0,
		NamespacedName: types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name},
		UID:            pod.UID, Created: pod.CreationTimestamp.Time, Workload: workload(pod), Node: pod.Spec.NodeName,
		Away: isAway(pod), Skip: skip(pod), Skipped: pod.Annotations[axlev1.SkippedAnnotation],
		Pin: pod.Annotations[axlev1.PinVersionAnnotation], Desired: desired, Status: status, Sidecars: sidecars.Of(pod),
	}
}

func versionFacts(versions []axlev1.SidecarVersion) map[string]Version {
	all := make(map[string]Version, len(versions))
	for i := range versions {
		v := &versions[i]
		fact := Version{Handover: v.Spec.HandoverProtocol, Served: meta.IsStatusConditionTrue(v.Status.Conditions, axlev1.ConditionServed)}
		if c := meta.FindStatusCondition(v.Status.Conditions, axlev1.ConditionVerified); c == nil {
			fact.Problem = fmt.Sprintf("SidecarVersion %q has not been verified yet", v.Name)
		} else if c.Status != "True" || v.Status.Digest == "" {
			fact.Problem = fmt.Sprintf("SidecarVersion %q is not verified: %s", v.Name, c.Message)
		}
		all[v.Name] = fact
	}
	return all
}

// Defaults that the schema applies too; here they are for objects that were made without it.
const (
	defaultMaxGenerations = 50
	defaultDeadline       = 600 * time.Second
	defaultSoak           = 15 * time.Second
)

func fleetFacts(f *axlev1.SidecarFleet) Fleet {
	strategy := f.Spec.UpdateStrategy
	fact := Fleet{
		Name: f.Name, Generation: f.Generation, Version: f.Spec.Version, Current: f.Status.CurrentVersion,
		InPlace: f.Spec.InPlace.On(), MaxGenerations: int(f.Spec.InPlace.MaxGenerations), Paused: f.Spec.Paused,
		MaxUpdating: intstr.FromString("10%"), Steps: strategy.Steps, StepIndex: f.Status.Step.Index,
		FailedHandovers: int(strategy.Analysis.FailedHandovers), Deadline: time.Duration(strategy.ProgressDeadlineSeconds) * time.Second,
	}
	if fact.MaxGenerations == 0 {
		fact.MaxGenerations = defaultMaxGenerations
	}
	if fact.Deadline == 0 {
		fact.Deadline = defaultDeadline
	}
	if strategy.MaxUpdating != nil {
		fact.MaxUpdating = *strategy.MaxUpdating
	}
	fact.Attempt, fact.Hash = f.Try()
	if len(fact.Steps) == 0 {
		fact.Steps = []axlev1.UpdateStep{{Percent: 100}}
	}
	if fact.Attempt != f.Status.Attempt {
		fact.StepIndex = 0
	} else if f.Status.Step.Since != nil {
		fact.StepSince = f.Status.Step.Since.Time
	}
	fact.Promoted = promoted(f, fact.Attempt)
	fact.Soak = defaultSoak
	if strategy.Analysis.Interval != nil {
		fact.Soak = strategy.Analysis.Interval.Duration
	}
	fact.Served = served(f, fact.Attempt)
	fact.Rollback = strategy.OnFailure != axlev1.OnFailurePause
	fact.Stopped, fact.StoppedBy = stop(f)
	return fact
}

// served is the version that the attempt before this one has brought to every pod, if it did.
func served(f *axlev1.SidecarFleet, attempt int64) string {
	progress := meta.FindStatusCondition(f.Status.Conditions, axlev1.ConditionProgressing)
	through := f.Status.Step.Reason == reasonComplete || f.Status.Step.Reason == reasonVerifying
	if attempt == f.Status.Attempt || f.Status.UpdateVersion == f.Spec.Version || !through || progress == nil || outcomes[progress.Reason] != going {
		return ""
	}
	return f.Status.UpdateVersion
}

// promoted reads the annotation that ends pauses, "VERSION/STEP@ATTEMPT". One of another version or attempt, or that is no number of a step, ends none.
func promoted(f *axlev1.SidecarFleet, attempt int64) int {
	version, rest, _ := strings.Cut(f.Annotations[axlev1.PromoteAnnotation], "/")
	step, of, _ := strings.Cut(rest, "@")
	n, err := strconv.Atoi(step)
	if version != f.Spec.Version || err != nil || n < 1 || of != strconv.FormatInt(attempt, 10) {
		return 0
	}
	return n
}

// stop reads back what stopped the rollout, if the status says so of this attempt.
func stop(f *axlev1.SidecarFleet) (message, reason string) {
	progress := meta.FindStatusCondition(f.Status.Conditions, axlev1.ConditionProgressing)
	degraded := meta.FindStatusCondition(f.Status.Conditions, axlev1.ConditionDegraded)
	if progress == nil || degraded == nil || outcomes[progress.Reason] == going || degraded.Status != "True" ||
		!f.Tried() {
		return "", ""
	}
	message, _, _ = strings.Cut(degraded.Message, stoppedPhrase(f.Spec.Version))
	return message, degraded.Reason
}

// stoppedPhrase divides, in a message, what happened from what can be done.
func stoppedPhrase(version string) string {
	return fmt.Sprintf(". The rollout of %s has stopped", version)
}
