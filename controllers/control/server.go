package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/identity"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch

// joinTries bounds how often a join starts again because the pod changed meanwhile.
const joinTries = 5

// Server is the control channel's service. Register it with a gRPC server whose interceptors are an Authenticator's, add it to the
// manager (it writes status annotations in the background) and feed it pod events with PodChanged.
type Server struct {
	controlv1.UnimplementedControlServer

	// Pods is the shared cache; Live reads past it, for joins, which must not miss the newest status.
	Pods client.Reader
	Live client.Reader
	// Writer patches pods.
	Writer  client.Writer
	Tokens  Reviewer
	Keys    *identity.Ring
	Clock   clock.Clock
	Log     logr.Logger
	Metrics *Metrics
	// TrustBundle is the PEM bundle that sidecars are to check this endpoint against; nil leaves it alone.
	TrustBundle func() []byte

	hub    hub
	writer statusWriter
}

// Join implements the service.
func (s *Server) Join(ctx context.Context, req *controlv1.JoinRequest) (*controlv1.Credential, error) {
	cred, err := s.join(ctx, req)
	if err != nil {
		s.Metrics.joinsRefused.WithLabelValues(status.Code(err).String()).Inc()
		s.Log.Info("join refused", "podUID", bounded(req.GetPodUid(), 64), "container", bounded(req.GetContainer(), 64), "reason", status.Convert(err).Message())
		return nil, err
	}
	s.Metrics.joins.Inc()
	return cred, nil
}

func (s *Server) join(ctx context.Context, req *controlv1.JoinRequest) (*controlv1.Credential, error) {
	if req.GetServiceAccountToken() != "" {
		return s.joinSlot(ctx, req)
	}
	j, err := s.Keys.Keys().OpenJoin(req.GetToken(), s.Clock.Now())
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	if req.GetPodUid() != j.PodUID || req.GetContainer() != j.Container {
		return nil, status.Error(codes.PermissionDenied, "the token was made for another container")
	}
	for range joinTries {
		pod := &corev1.Pod{}
		if err := s.Live.Get(ctx, client.ObjectKey{Namespace: j.Namespace, Name: j.Pod}, pod); err != nil {
			return nil, lookup(err, j.Sidecar)
		}
		if err := speaksFor(ctx, j.Sidecar, pod); err != nil {
			return nil, err
		}
		err := s.spend(ctx, pod, j.Container)
		if apierrors.IsConflict(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return s.credential(j.Sidecar)
	}
	return nil, status.Errorf(codes.Aborted, "pod %s/%s kept changing; try again", j.Namespace, j.Pod)
}

// spend marks the container's token as used. The patch names the pod's resourceVersion, so that of two joins with one token only one passes.
func (s *Server) spend(ctx context.Context, pod *corev1.Pod, container string) error {
	generation, ok := sidecars.Generation(container)
	if _, has := sidecars.Find(sidecars.Of(pod), generation); !ok || !has {
		return status.Errorf(codes.PermissionDenied, "pod %s/%s has no sidecar %q", pod.Namespace, pod.Name, container)
	}
	st, err := axlev1.ParseStatus(pod.Annotations)
	if err != nil {
		s.Log.Error(err, "unreadable status is replaced", "pod", client.ObjectKeyFromObject(pod))
	}
	if st == nil {
		st = &axlev1.PodStatus{}
	}
	if used, _ := sidecars.Generation(st.Joined); used >= generation {
		return status.Errorf(codes.PermissionDenied, "a join token is good once, and %s has joined already", st.Joined)
	}
	st.Joined = container
	return patchStatus(ctx, s.Writer, pod, *st)
}

func (s *Server) credential(who identity.Sidecar) (*controlv1.Credential, error) {
	token, b, err := s.Keys.Keys().SignBearer(who, s.Clock.Now())
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &controlv1.Credential{Bearer: token, Expires: b.Expires, RenewAfter: b.RenewAfter()}, nil
}

// Renew implements the service. The interceptor has checked that the pod is still the same.
func (s *Server) Renew(ctx context.Context, _ *controlv1.RenewRequest) (*controlv1.Credential, error) {
	who, ok := Caller(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "no credential")
	}
	return s.credential(who.Sidecar)
}

// Connect implements the service.
func (s *Server) Connect(str controlv1.Control_ConnectServer) error {
	ctx := str.Context()
	who, ok := Caller(ctx)
	if !ok {
		return status.Error(codes.Unauthenticated, "no credential")
	}
	first, err := str.Recv()
	if err != nil {
		return err
	}
	generation, err := s.greeted(ctx, first.GetHello(), who.Sidecar)
	if err != nil {
		return err
	}
	st := &stream{who: who.Sidecar, generation: generation, version: bounded(first.GetHello().GetVersion(), 63), wake: make(chan struct{}, 1)}
	s.hub.open(st)
	gauge := s.Metrics.streams.WithLabelValues(st.version)
	gauge.Inc()
	defer func() {
		s.hub.close(st)
		s.writer.add(types.NamespacedName{Namespace: who.Namespace, Name: who.Pod})
		gauge.Dec()
		s.Log.V(1).Info("sidecar disconnected", "pod", who.Pod, "namespace", who.Namespace, "generation", generation)
	}()
	s.Log.V(1).Info("sidecar connected", "pod", who.Pod, "namespace", who.Namespace, "generation", generation, "version", st.version)
	s.heard(st, first)
	s.relayNow(ctx, st)

	sent := make(chan error, 1)
	go func() { sent <- s.send(ctx, str, st) }() // the sender: ends with the stream's context, or when sending fails
	for {
		r, err := str.Recv()
		if err != nil {
			select {
			case err = <-sent:
			default:
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		s.heard(st, r)
	}
}

// greeted checks a stream's first report against the credential.
func (s *Server) greeted(ctx context.Context, h *controlv1.Hello, who identity.Sidecar) (generation int64, err error) {
	if h == nil {
		return 0, status.Error(codes.InvalidArgument, "the first report needs a hello")
	}
	if h.GetPodUid() != who.PodUID || h.GetContainer() != who.Container {
		return 0, status.Errorf(codes.PermissionDenied, "hello of %s in pod %s does not match the credential", bounded(h.GetContainer(), 64), bounded(h.GetPodUid(), 64))
	}
	if isSlot(who.Container) {
		return h.GetGeneration(), s.isSlotOf(ctx, who, h.GetGeneration())
	}
	generation, ok := sidecars.Generation(who.Container)
	if !ok || generation != h.GetGeneration() {
		return 0, status.Errorf(codes.InvalidArgument, "generation %d does not belong to container %q", h.GetGeneration(), who.Container)
	}
	return generation, nil
}

func (s *Server) heard(st *stream, r *controlv1.Report) {
	if s.hub.heard(st, r) {
		s.writer.add(types.NamespacedName{Namespace: st.who.Namespace, Name: st.who.Pod})
	}
}

// relayNow gives a sidecar that has just connected what is wanted of its pod.
func (s *Server) relayNow(ctx context.Context, st *stream) {
	pod := &corev1.Pod{}
	if err := s.Pods.Get(ctx, client.ObjectKey{Namespace: st.who.Namespace, Name: st.who.Pod}, pod); err != nil {
		s.Log.V(1).Info("nothing to relay yet", "pod", st.who.Pod, "namespace", st.who.Namespace, "reason", err.Error())
		return
	}
	s.PodChanged(pod)
}

// PodChanged relays what is wanted of a pod to the sidecars of it that are connected here. It never blocks.
func (s *Server) PodChanged(pod *corev1.Pod) {
	if !s.hub.knows(pod.UID) {
		return
	}
	d, err := axlev1.ParseDesired(pod.Annotations)
	if err != nil {
		s.Log.Error(err, "desired not relayed", "pod", client.ObjectKeyFromObject(pod))
		return
	}
	keys := s.Keys.Keys()
	s.hub.wish(pod.UID, func(generation int64) *controlv1.Desired { return desiredFor(keys, pod, d, generation) })
	s.writer.add(client.ObjectKeyFromObject(pod)) // another replica may have written what ours should have replaced
}

// send writes commands to one sidecar until its stream ends.
func (s *Server) send(ctx context.Context, str controlv1.Control_ConnectServer, st *stream) error {
	var bundle string
	for {
		if d := s.hub.take(st); d != nil {
			cmd := &controlv1.Command{Desired: d}
			if s.TrustBundle != nil {
				if now := string(s.TrustBundle()); now != bundle {
					bundle, cmd.TrustBundle = now, []byte(now)
				}
			}
			if err := str.Send(cmd); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-st.wake:
		}
	}
}

// patchStatus writes a status annotation if the pod is still the one that was read.
func patchStatus(ctx context.Context, w client.Writer, pod *corev1.Pod, st axlev1.PodStatus) error {
	raw, err := json.Marshal(st)
	if err != nil {
		return err
	}
	next := pod.DeepCopy()
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	next.Annotations[axlev1.StatusAnnotation] = string(raw)
	return w.Patch(ctx, next, client.MergeFromWithOptions(pod, client.MergeFromWithOptimisticLock{}))
}
