package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	"github.com/axlemesh/axle/controllers/identity"
)

// Authenticator lets only sidecars of pods that exist speak to the services of a gRPC server: the control channel and ADS.
// A call carries "authorization: Bearer <credential>", and comes from the address of the pod that the credential names.
type Authenticator struct {
	Keys  *identity.Ring
	Pods  client.Reader
	Clock clock.PassiveClock
}

type bearerKey struct{}

// Caller is the sidecar behind an authenticated call.
func Caller(ctx context.Context) (identity.Bearer, bool) {
	b, ok := ctx.Value(bearerKey{}).(identity.Bearer)
	return b, ok
}

// Unary is the interceptor of single calls. Join is let through: it brings a token of its own.
func (a *Authenticator) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if info.FullMethod == controlv1.Control_Join_FullMethodName {
		return next(ctx, req)
	}
	grace := time.Duration(0)
	if info.FullMethod == controlv1.Control_Renew_FullMethodName {
		grace = identity.RenewGrace
	}
	ctx, err := a.authenticate(ctx, grace)
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// Stream is the interceptor of streams.
func (a *Authenticator) Stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := a.authenticate(ss.Context(), 0)
	if err != nil {
		return err
	}
	return next(srv, &knownStream{ServerStream: ss, ctx: ctx})
}

// knownStream is a stream whose context says who is speaking.
type knownStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *knownStream) Context() context.Context { return s.ctx }

func (a *Authenticator) authenticate(ctx context.Context, grace time.Duration) (context.Context, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return nil, status.Error(codes.Unauthenticated, "exactly one authorization header is needed")
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "authorization is not a bearer")
	}
	b, err := a.Keys.Keys().OpenBearer(token, a.Clock.Now(), grace)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	pod := &corev1.Pod{}
	if err := a.Pods.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: b.Pod}, pod); err != nil {
		return nil, lookup(err, b.Sidecar)
	}
	if err := speaksFor(ctx, b.Sidecar, pod); err != nil {
		return nil, err
	}
	return context.WithValue(ctx, bearerKey{}, b), nil
}

// lookup says what a failed look at a pod means to its sidecar.
func lookup(err error, who identity.Sidecar) error {
	if apierrors.IsNotFound(err) {
		return status.Errorf(codes.PermissionDenied, "pod %s/%s does not exist", who.Namespace, who.Pod)
	}
	return status.Errorf(codes.Unavailable, "look up pod %s/%s: %v", who.Namespace, who.Pod, err)
}

// speaksFor checks that pod is the one that who names, and that the call comes from its address.
func speaksFor(ctx context.Context, who identity.Sidecar, pod *corev1.Pod) error {
	if string(pod.UID) != who.PodUID {
		return status.Errorf(codes.PermissionDenied, "pod %s/%s is another one now: its UID is not %s", who.Namespace, who.Pod, who.PodUID)
	}
	from, err := source(ctx)
	if err != nil {
		return status.Error(codes.PermissionDenied, err.Error())
	}
	if isSlot(who.Container) && len(podIPs(pod)) == 0 {
		return nil // slots start before the API knows the pod's address, and their token is bound to the pod
	}
	if slices.Contains(podIPs(pod), from) {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "pod %s/%s does not have the address %s that the call comes from", who.Namespace, who.Pod, from)
}

func source(ctx context.Context) (netip.Addr, error) {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return netip.Addr{}, errors.New("the call has no source address")
	}
	at, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("source address of the call: %w", err)
	}
	return at.Addr().Unmap().WithZone(""), nil
}

func podIPs(pod *corev1.Pod) []netip.Addr {
	var all []netip.Addr
	texts := []string{pod.Status.PodIP}
	for _, ip := range pod.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	for _, text := range texts {
		if ip, err := netip.ParseAddr(text); err == nil {
			all = append(all, ip.Unmap())
		}
	}
	return all
}
