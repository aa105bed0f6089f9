package control

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/identity"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create

// maxToken bounds a service account token in bytes; the API server's are of 1 to 2 KiB.
const maxToken = 16 << 10

// What a review says of the pod that a token is bound to (k8s.io/apiserver/pkg/authentication/serviceaccount).
const (
	podNameExtra = "authentication.kubernetes.io/pod-name"
	podUIDExtra  = "authentication.kubernetes.io/pod-uid"
	accountUser  = "system:serviceaccount:"
)

// Reviewer says whom a token belongs to.
type Reviewer interface {
	Review(ctx context.Context, token, audience string) (authenticationv1.TokenReviewStatus, error)
}

// TokenReviews asks the API server.
type TokenReviews struct{ Client client.Writer }

// Review implements Reviewer.
func (r TokenReviews) Review(ctx context.Context, token, audience string) (authenticationv1.TokenReviewStatus, error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{audience}}}
	if err := r.Client.Create(ctx, review); err != nil {
		return authenticationv1.TokenReviewStatus{}, fmt.Errorf("review a service account token: %w", err)
	}
	return review.Status, nil
}

// isSlot says whether a container is one of a pod's two slots.
func isSlot(container string) bool { return container == axlev1.SlotA || container == axlev1.SlotB }

// joinSlot lets a slot in with its pod's projected token. Nothing is spent: a slot that has restarted joins again.
func (s *Server) joinSlot(ctx context.Context, req *controlv1.JoinRequest) (*controlv1.Credential, error) {
	if !isSlot(req.GetContainer()) {
		return nil, status.Errorf(codes.PermissionDenied, "container %q is no slot", bounded(req.GetContainer(), 64))
	}
	if s.Tokens == nil || len(req.GetServiceAccountToken()) > maxToken {
		return nil, status.Error(codes.PermissionDenied, "service account tokens of this kind are not taken here")
	}
	got, err := s.Tokens.Review(ctx, req.GetServiceAccountToken(), axlev1.TokenAudience)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	who, err := reviewed(got)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	who.Container = req.GetContainer()
	if req.GetPodUid() != who.PodUID {
		return nil, status.Error(codes.PermissionDenied, "the token is another pod's")
	}
	pod := &corev1.Pod{}
	if err := s.Live.Get(ctx, client.ObjectKey{Namespace: who.Namespace, Name: who.Pod}, pod); err != nil {
		return nil, lookup(err, who)
	}
	if err := speaksFor(ctx, who, pod); err != nil {
		return nil, err
	}
	if !sidecars.HasSlots(pod) {
		return nil, status.Errorf(codes.PermissionDenied, "pod %s/%s has no slots", pod.Namespace, pod.Name)
	}
	return s.credential(who)
}

// reviewed reads whose token it is.
func reviewed(got authenticationv1.TokenReviewStatus) (identity.Sidecar, error) {
	if !got.Authenticated {
		return identity.Sidecar{}, fmt.Errorf("the service account token is not good: %s", bounded(got.Error, 256))
	}
	if len(got.Audiences) != 1 || got.Audiences[0] != axlev1.TokenAudience { // an API server that knows no audiences names none
		return identity.Sidecar{}, fmt.Errorf("the service account token is for %q, not for %q", got.Audiences, axlev1.TokenAudience)
	}
	account, ok := strings.CutPrefix(got.User.Username, accountUser)
	namespace, _, ok2 := strings.Cut(account, ":")
	name, uid := got.User.Extra[podNameExtra], got.User.Extra[podUIDExtra]
	if !ok || !ok2 || namespace == "" || len(name) != 1 || len(uid) != 1 {
		return identity.Sidecar{}, fmt.Errorf("the token of %q is bound to no pod", bounded(got.User.Username, 256))
	}
	return identity.Sidecar{Namespace: namespace, Pod: name[0], PodUID: uid[0]}, nil
}

// isSlotOf checks that a slot is of the generation that its pod says. The cache may not have seen the flip that started it.
func (s *Server) isSlotOf(ctx context.Context, who identity.Sidecar, generation int64) error {
	var is int64
	for _, from := range []client.Reader{s.Pods, s.Live} {
		pod := &corev1.Pod{}
		if err := from.Get(ctx, client.ObjectKey{Namespace: who.Namespace, Name: who.Pod}, pod); err != nil {
			return lookup(err, who)
		}
		if string(pod.UID) != who.PodUID {
			return status.Errorf(codes.PermissionDenied, "pod %s/%s is another one now: its UID is not %s", who.Namespace, who.Pod, who.PodUID)
		}
		slots, err := axlev1.ParseSlots(pod.Annotations)
		if err != nil || slots == nil {
			return status.Errorf(codes.FailedPrecondition, "pod %s/%s does not say what its slots are", who.Namespace, who.Pod)
		}
		is = slots.A.Generation
		if who.Container == axlev1.SlotB {
			is = slots.B.Generation
		}
		if is == generation {
			return nil
		}
	}
	return status.Errorf(codes.FailedPrecondition, "%s of pod %s/%s is generation %d, not %d", who.Container, who.Namespace, who.Pod, is, generation)
}
