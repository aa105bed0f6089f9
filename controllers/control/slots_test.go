package control

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

func slotted(ip string) *corev1.Pod {
	p := pod(ip)
	p.Annotations = map[string]string{axlev1.SlotsAnnotation: `{"serving":2,"a":{"generation":2,"version":"v1"},"b":{"generation":3,"version":"v2"}}`}
	p.Spec.InitContainers = []corev1.Container{{Name: axlev1.SlotA}, {Name: axlev1.SlotB}}
	return p
}

// reviewer answers every review alike.
type reviewer struct {
	status authenticationv1.TokenReviewStatus
	err    error
}

func (r reviewer) Review(_ context.Context, token, audience string) (authenticationv1.TokenReviewStatus, error) {
	if token != "projected" || audience != axlev1.TokenAudience {
		return authenticationv1.TokenReviewStatus{}, errors.New("asked for something else")
	}
	return r.status, r.err
}

func good() authenticationv1.TokenReviewStatus {
	return authenticationv1.TokenReviewStatus{
		Authenticated: true, Audiences: []string{axlev1.TokenAudience},
		User: authenticationv1.UserInfo{
			Username: "system:serviceaccount:payments:default",
			Extra:    map[string]authenticationv1.ExtraValue{podNameExtra: {"pay-0"}, podUIDExtra: {"uid-1"}},
		},
	}
}

func (r *replica) joinSlotAs(uid, container string) (*controlv1.Credential, error) {
	return r.client.Join(context.Background(), &controlv1.JoinRequest{ServiceAccountToken: "projected", PodUid: uid, Container: container})
}

func TestSlotJoins(t *testing.T) {
	changed := func(change func(*authenticationv1.TokenReviewStatus)) reviewer {
		st := good()
		change(&st)
		return reviewer{status: st}
	}
	cases := map[string]struct {
		pod       *corev1.Pod
		tokens    Reviewer
		uid       string
		container string
		want      codes.Code
	}{
		"slot a":                          {want: codes.OK},
		"slot b":                          {container: axlev1.SlotB, want: codes.OK},
		"before its address is known":     {pod: slotted(""), want: codes.OK},
		"a container that is no slot":     {container: "app", want: codes.PermissionDenied},
		"an in-place container":           {container: "axle-g1", want: codes.PermissionDenied},
		"another pod's token":             {uid: "uid-2", want: codes.PermissionDenied},
		"another address":                 {pod: slotted("10.1.1.1"), want: codes.PermissionDenied},
		"a pod without slots":             {pod: pod("127.0.0.1"), want: codes.PermissionDenied},
		"no reviews here":                 {tokens: nil, want: codes.PermissionDenied},
		"the API server does not answer":  {tokens: reviewer{err: errors.New("down")}, want: codes.Unavailable},
		"a token that is not good":        {tokens: changed(func(s *authenticationv1.TokenReviewStatus) { s.Authenticated = false }), want: codes.Unauthenticated},
		"a token for the API server":      {tokens: changed(func(s *authenticationv1.TokenReviewStatus) { s.Audiences = []string{"api"} }), want: codes.Unauthenticated},
		"an API server without audiences": {tokens: changed(func(s *authenticationv1.TokenReviewStatus) { s.Audiences = nil }), want: codes.Unauthenticated},
		"a token of a user":               {tokens: changed(func(s *authenticationv1.TokenReviewStatus) { s.User.Username = "alice" }), want: codes.Unauthenticated},
		"a token that is bound to no pod": {tokens: changed(func(s *authenticationv1.TokenReviewStatus) { s.User.Extra = nil }), want: codes.Unauthenticated},
		"a pod that came later": {tokens: changed(func(s *authenticationv1.TokenReviewStatus) {
			s.User.Extra[podUIDExtra] = authenticationv1.ExtraValue{"uid-2"}
		}), uid: "uid-2", want: codes.PermissionDenied},
		"a pod that is gone": {tokens: changed(func(s *authenticationv1.TokenReviewStatus) {
			s.User.Extra[podNameExtra] = authenticationv1.ExtraValue{"pay-9"}
		}), want: codes.PermissionDenied},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.pod == nil {
				tc.pod = slotted("127.0.0.1")
			}
			r := newReplica(t, tc.pod)
			r.Tokens = tc.tokens
			if tc.tokens == nil && name != "no reviews here" {
				r.Tokens = reviewer{status: good()}
			}
			for range 2 { // it may join again
				_, err := r.joinSlotAs(cmpOr(tc.uid, "uid-1"), cmpOr(tc.container, axlev1.SlotA))
				if got := status.Code(err); got != tc.want {
					t.Errorf("join: %v, want %s", err, tc.want)
				}
			}
		})
	}
}

func TestSlotSaysItsGeneration(t *testing.T) {
	cases := map[string]struct {
		container  string
		generation int64
		annotation string
		want       codes.Code
	}{
		"a":                                  {container: axlev1.SlotA, generation: 2, want: codes.OK},
		"b":                                  {container: axlev1.SlotB, generation: 3, want: codes.OK},
		"a says that it is b":                {container: axlev1.SlotA, generation: 3, want: codes.FailedPrecondition},
		"a generation of the past":           {container: axlev1.SlotB, generation: 1, want: codes.FailedPrecondition},
		"an annotation that nobody can read": {container: axlev1.SlotB, generation: 3, annotation: "{", want: codes.FailedPrecondition},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := slotted("127.0.0.1")
			if tc.annotation != "" {
				p.Annotations[axlev1.SlotsAnnotation] = tc.annotation
			}
			p.Annotations[axlev1.DesiredAnnotation] = `{"fleet":"default","generation":2,"version":"v1"}`
			r := newReplica(t, p)
			r.Tokens = reviewer{status: good()}
			cred, err := r.joinSlotAs("uid-1", tc.container)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), wait)
			defer cancel()
			str, err := r.client.Connect(withBearer(ctx, cred.GetBearer()))
			if err != nil {
				t.Fatal(err)
			}
			hello := &controlv1.Hello{PodUid: "uid-1", Namespace: "payments", Pod: "pay-0", Container: tc.container, Generation: tc.generation}
			if err := str.Send(&controlv1.Report{Hello: hello, State: &controlv1.State{Phase: controlv1.State_STARTING}}); err != nil {
				t.Fatal(err)
			}
			if _, err = str.Recv(); status.Code(err) != tc.want {
				t.Errorf("connect: %v, want %s", err, tc.want)
			}
		})
	}
}

func TestTokenReviewsAskTheAPIServer(t *testing.T) {
	var asked *authenticationv1.TokenReview
	answer := interceptor.Funcs{Create: func(_ context.Context, _ client.WithWatch, obj client.Object, _ ...client.CreateOption) error {
		asked, _ = obj.(*authenticationv1.TokenReview)
		if asked.Spec.Token == "" {
			return errors.New("no token")
		}
		asked.Status = good()
		return nil
	}}
	r := TokenReviews{Client: fake.NewClientBuilder().WithInterceptorFuncs(answer).Build()}
	got, err := r.Review(context.Background(), "projected", axlev1.TokenAudience)
	if err != nil || !got.Authenticated {
		t.Errorf("review: %+v, %v", got, err)
	}
	if len(asked.Spec.Audiences) != 1 || asked.Spec.Audiences[0] != axlev1.TokenAudience {
		t.Errorf("asked for audiences %q", asked.Spec.Audiences)
	}
	if _, err := r.Review(context.Background(), "", axlev1.TokenAudience); err == nil || !strings.Contains(err.Error(), "no token") {
		t.Errorf("error %v", err)
	}
}
