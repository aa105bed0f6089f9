package sidecarfleet_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/identity"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// What the sidecars of a version do is in its name.
const (
	unpullable = "unpullable" // the image cannot be pulled
	breaks     = "breaks"     // its handover fails
	hangs      = "hangs"      // it never connects
	absent     = "absent"     // no node can run its image
	loses      = "loses"      // its handover costs connections
	slow       = "slow"       // it waits in its handover until the test says so
)

// goOn lets the sidecars of slow versions finish their handovers.
var goOn = make(chan struct{}, 100)

// node plays the kubelet: it starts a sidecar for every ephemeral container that appears, and writes down how it ends.
type node struct {
	cancel context.CancelFunc
	all    sync.WaitGroup
	known  map[string]bool
}

func (n *node) start() {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.known = cancel, map[string]bool{}
	n.all.Go(func() {
		for ctx.Err() == nil {
			n.look(ctx)
			time.Sleep(20 * time.Millisecond)
		}
	})
}

func (n *node) stop() {
	n.cancel()
	n.all.Wait()
}

func (n *node) look(ctx context.Context) {
	var pods corev1.PodList
	if err := cluster.List(ctx, &pods); err != nil {
		return
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if version := pod.Labels[axlev1.GroupName+"/prepull-version"]; version != "" && pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodPending {
			n.pull(ctx, pod, version)
		}
		for _, c := range pod.Spec.EphemeralContainers {
			id := string(pod.UID) + c.Name
			if n.known[id] || pod.DeletionTimestamp != nil {
				continue
			}
			n.known[id] = true
			generation, _ := sidecars.Generation(c.Name)
			s := &fakeSidecar{pod: client.ObjectKeyFromObject(pod), uid: pod.UID, container: c.Name, generation: generation}
			for _, e := range c.Env {
				if e.Name == axlev1.StubVersionEnv {
					s.version = e.Value
				}
			}
			n.all.Go(func() { s.live(ctx) })
		}
	}
}

// pull plays a node that gets an image, or does not; what is absent counts as failed after the operator's patience only.
func (n *node) pull(ctx context.Context, pod *corev1.Pod, version string) {
	st := corev1.ContainerStatus{Name: pod.Spec.Containers[0].Name}
	pod.Status.Phase = corev1.PodSucceeded
	switch {
	case strings.HasPrefix(version, absent):
		pod.Status.Phase = corev1.PodFailed
		st.State.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "exec format error"}
	default:
		st.State.Terminated = &corev1.ContainerStateTerminated{Reason: "Completed"}
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{st}
	_ = cluster.Status().Update(ctx, pod) // the next look tries again
}

// state writes a container's state into the pod's status, as the kubelet would.
func (s *fakeSidecar) state(ctx context.Context, st corev1.ContainerState) {
	for ctx.Err() == nil {
		pod := &corev1.Pod{}
		if err := cluster.Get(ctx, s.pod, pod); err != nil || pod.UID != s.uid {
			return
		}
		all := &pod.Status.EphemeralContainerStatuses
		at := slices.IndexFunc(*all, func(c corev1.ContainerStatus) bool { return c.Name == s.container })
		if at < 0 {
			*all = append(*all, corev1.ContainerStatus{Name: s.container})
			at = len(*all) - 1
		}
		(*all)[at].State = st
		if err := cluster.Status().Update(ctx, pod); err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// fakeSidecar speaks the real control protocol and moves no connection.
type fakeSidecar struct {
	pod        types.NamespacedName
	uid        types.UID
	container  string
	version    string
	generation int64

	bearer string
	phase  controlv1.State_Phase
	result *controlv1.HandoverResult
}

func (s *fakeSidecar) live(ctx context.Context) {
	defer GinkgoRecover()
	if strings.HasPrefix(s.version, unpullable) {
		s.state(ctx, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "manifest unknown"}})
		return
	}
	s.state(ctx, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	if strings.HasPrefix(s.version, hangs) {
		return
	}
	s.phase = controlv1.State_STARTING
	for ctx.Err() == nil {
		if code, exits := s.connect(ctx); exits {
			s.state(ctx, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Completed", FinishedAt: metav1.Now()}})
			return
		}
		time.Sleep(20 * time.Millisecond) // the operator is away: the sidecar goes on with what it has
	}
}

// connect serves one connection to the operator, and says whether the process has ended with it.
func (s *fakeSidecar) connect(ctx context.Context) (code int32, exits bool) {
	conn, err := grpc.NewClient(op.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, false
	}
	defer func() { _ = conn.Close() }()
	ctl := controlv1.NewControlClient(conn)
	if s.bearer == "" && !s.join(ctx, ctl) {
		return 0, false
	}
	str, err := ctl.Connect(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+s.bearer))
	if err != nil {
		return 0, false
	}
	hello := &controlv1.Hello{PodUid: string(s.uid), Namespace: s.pod.Namespace, Pod: s.pod.Name, Container: s.container, Version: s.version, Generation: s.generation}
	if s.report(ctx, str, hello) != nil {
		return 0, false
	}
	for {
		cmd, err := str.Recv()
		if err != nil {
			return 0, false
		}
		if code, exits := s.obey(ctx, str, cmd.GetDesired()); exits {
			_ = str.CloseSend()
			_, _ = str.Recv() // the operator has read everything when it closes
			return code, true
		}
	}
}

func (s *fakeSidecar) join(ctx context.Context, ctl controlv1.ControlClient) bool {
	who := identity.Sidecar{PodUID: string(s.uid), Namespace: s.pod.Namespace, Pod: s.pod.Name, Container: s.container}
	token, err := ring.Keys().SignJoin(who, time.Now())
	if err != nil {
		return false
	}
	cred, err := ctl.Join(ctx, &controlv1.JoinRequest{Token: token, PodUid: who.PodUID, Container: who.Container})
	if err != nil {
		return false
	}
	s.bearer = cred.GetBearer()
	return true
}

func (s *fakeSidecar) report(ctx context.Context, str controlv1.Control_ConnectClient, hello *controlv1.Hello) error {
	state := &controlv1.State{Phase: s.phase}
	if s.phase == controlv1.State_SERVING || s.phase == controlv1.State_HANDING_OVER {
		state.Listening = s.meshPorts(ctx)
	}
	return str.Send(&controlv1.Report{Hello: hello, State: state, Handover: s.result})
}

// meshPorts come over xDS in a real sidecar.
func (s *fakeSidecar) meshPorts(ctx context.Context) []int32 {
	pod := &corev1.Pod{}
	if err := cluster.Get(ctx, s.pod, pod); err != nil {
		return nil
	}
	d, _ := axlev1.ParseDesired(pod.Annotations)
	if d == nil {
		return nil
	}
	var all []int32
	for _, p := range d.Ports {
		all = append(all, p.Mesh())
	}
	return all
}

// status of the pod as the annotation has it.
func (s *fakeSidecar) status(ctx context.Context) axlev1.PodStatus {
	pod := &corev1.Pod{}
	if err := cluster.Get(ctx, s.pod, pod); err != nil {
		return axlev1.PodStatus{}
	}
	if st, _ := axlev1.ParseStatus(pod.Annotations); st != nil {
		return *st
	}
	return axlev1.PodStatus{}
}

func (s *fakeSidecar) obey(ctx context.Context, str controlv1.Control_ConnectClient, d *controlv1.Desired) (code int32, exits bool) {
	serving := s.phase == controlv1.State_SERVING
	tell := func(p controlv1.State_Phase) { s.phase = p; _ = s.report(ctx, str, nil) }
	switch {
	case d.GetLeave():
		tell(controlv1.State_LEAVING)
		tell(controlv1.State_LEFT)
		return 0, true
	case d.GetGeneration() == s.generation && d.GetPredecessor() == 0 && !serving:
		tell(controlv1.State_SERVING)
	case d.GetGeneration() == s.generation && d.GetBegin() && !serving && len(d.GetHandoverKey()) > 0:
		return s.takeOver(ctx, str, d.GetPredecessor())
	case d.GetPredecessor() == s.generation && d.GetBegin() && serving && len(d.GetHandoverKey()) > 0:
		tell(controlv1.State_HANDING_OVER)
		return s.giveAway(ctx, str, d.GetGeneration())
	case !serving && d.GetGeneration() != s.generation && s.result == nil && d.GetGeneration() > 0 && s.status(ctx).Candidate == s.generation:
		return 0, true // nobody wants it any more
	}
	return 0, false
}

func (s *fakeSidecar) takeOver(ctx context.Context, str controlv1.Control_ConnectClient, from int64) (code int32, exits bool) {
	s.phase = controlv1.State_HANDING_OVER
	_ = s.report(ctx, str, nil)
	if strings.HasPrefix(s.version, slow) {
		select {
		case <-goOn:
		case <-ctx.Done():
			return 0, false
		}
	}
	s.result = &controlv1.HandoverResult{From: from, To: s.generation, Ok: !strings.HasPrefix(s.version, breaks), Step: "Done", Moved: 10, DurationMicros: 35000}
	if !s.result.GetOk() {
		s.result.Step, s.result.Reason, s.result.Moved = "Move", "counters of batch 3 do not match", 0
		s.phase = controlv1.State_STARTING
		_ = s.report(ctx, str, nil)
		return 1, true
	}
	if strings.HasPrefix(s.version, loses) {
		s.result.Lost = 2
	}
	s.phase = controlv1.State_SERVING
	return 0, s.report(ctx, str, nil) != nil && false
}

// giveAway waits for the other side's word, which in these tests comes through the pod's status.
func (s *fakeSidecar) giveAway(ctx context.Context, str controlv1.Control_ConnectClient, to int64) (code int32, exits bool) {
	want := strconv.FormatInt(s.generation, 10) + ">" + strconv.FormatInt(to, 10)
	for ctx.Err() == nil {
		if h := s.status(ctx).Handover; h != nil && strconv.FormatInt(h.From, 10)+">"+strconv.FormatInt(h.To, 10) == want {
			if h.OK {
				return 0, true
			}
			s.phase = controlv1.State_SERVING
			_ = s.report(ctx, str, nil)
			return 0, false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0, false
}
