package control

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/identity"
)

func TestJoin(t *testing.T) {
	other := who(1)
	other.PodUID = "uid-2"
	cases := map[string]struct {
		pod  *corev1.Pod
		as   identity.Sidecar
		want codes.Code
	}{
		"from the pod's address":                 {pod("127.0.0.1", 1), who(1), codes.OK},
		"from another address":                   {pod("10.1.1.1", 1), who(1), codes.PermissionDenied},
		"a pod without an address":               {pod("", 1), who(1), codes.PermissionDenied},
		"a pod of the same name that came later": {pod("127.0.0.1", 1), other, codes.PermissionDenied},
		"a container that the pod does not have": {pod("127.0.0.1", 1), who(2), codes.PermissionDenied},
		"a pod that is gone":                     {&corev1.Pod{}, who(1), codes.PermissionDenied},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tc.pod.Name = cmpOr(tc.pod.Name, "elsewhere")
			tc.pod.Namespace = cmpOr(tc.pod.Namespace, "payments")
			_, err := newReplica(t, tc.pod).joinAs(tc.as)
			if got := status.Code(err); got != tc.want {
				t.Errorf("join: %v, want %s", err, tc.want)
			}
		})
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func TestJoinTokenIsGoodOnce(t *testing.T) {
	r := newReplica(t, pod("127.0.0.1", 1, 2))
	if _, err := r.joinAs(who(1)); err != nil {
		t.Fatal(err)
	}
	if got := r.status().Joined; got != "axle-g1" {
		t.Errorf("joined = %q, want axle-g1", got)
	}
	if _, err := r.joinAs(who(1)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("second join: %v, want %s", err, codes.PermissionDenied)
	}
	if _, err := r.joinAs(who(2)); err != nil {
		t.Errorf("the next generation: %v", err)
	}
	if _, err := r.joinAs(who(1)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("the first one's token after the next generation's: %v, want %s", err, codes.PermissionDenied)
	}
}

func TestRenew(t *testing.T) {
	r := newReplica(t, pod("127.0.0.1", 1))
	cred, err := r.joinAs(who(1))
	if err != nil {
		t.Fatal(err)
	}
	ctx := withBearer(context.Background(), cred.GetBearer())
	r.clock.Step(20 * 24 * time.Hour)
	str, err := r.client.Connect(ctx)
	if err == nil {
		_, err = str.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("an expired bearer opens a stream: %v", err)
	}
	fresh, err := r.client.Renew(ctx, &controlv1.RenewRequest{})
	if err != nil {
		t.Fatalf("renew 19 days late: %v", err)
	}
	if fresh.GetRenewAfter() <= r.clock.Now().Unix() || fresh.GetExpires() <= fresh.GetRenewAfter() {
		t.Errorf("fresh credential %+v is not fresh", fresh)
	}
	r.clock.Step(60 * 24 * time.Hour)
	if _, err := r.client.Renew(ctx, &controlv1.RenewRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("renew 79 days late: %v, want %s", err, codes.Unauthenticated)
	}
	if _, err := r.client.Renew(context.Background(), &controlv1.RenewRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("renew without a bearer: %v, want %s", err, codes.Unauthenticated)
	}
}

func TestHandoverOverTheChannel(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	r := newReplica(t, pod("127.0.0.1", 1, 2))
	r.want(`{"fleet":"default","generation":1,"version":"v1"}`)

	old := r.connect(ctx, 1, "v1")
	cmd, err := old.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmd.GetDesired(); d.GetGeneration() != 1 || d.GetPredecessor() != 0 || d.GetHandoverKey() != nil {
		t.Errorf("first command %v, want generation 1 alone and no key", d)
	}
	if string(cmd.GetTrustBundle()) != "bundle" {
		t.Errorf("first command's trust bundle is %q", cmd.GetTrustBundle())
	}
	send := func(str controlv1.Control_ConnectClient, rep *controlv1.Report) {
		t.Helper()
		if err := str.Send(rep); err != nil {
			t.Fatal(err)
		}
	}
	open := []int32{15200}
	send(old, &controlv1.Report{State: &controlv1.State{Phase: controlv1.State_SERVING, Listening: open}})
	r.eventually("generation 1 serving", func() bool { return r.status().Generation == 1 })

	cand := r.connect(ctx, 2, "v2")
	r.eventually("the candidate being seen", func() bool { return r.status().Candidate == 2 })
	if _, err := cand.Recv(); err != nil { // the desire for generation 1
		t.Fatal(err)
	}
	r.want(`{"fleet":"default","generation":2,"version":"v2","predecessor":1,"begin":true}`)
	var keys [][]byte
	for _, str := range []controlv1.Control_ConnectClient{old, cand} {
		cmd, err := str.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if !cmd.GetDesired().GetBegin() {
			t.Errorf("command %v does not begin", cmd)
		}
		keys = append(keys, cmd.GetDesired().GetHandoverKey())
	}
	if len(keys[0]) == 0 || !bytes.Equal(keys[0], keys[1]) {
		t.Errorf("the two generations got keys %x and %x", keys[0], keys[1])
	}

	send(old, &controlv1.Report{State: &controlv1.State{Phase: controlv1.State_HANDING_OVER, Listening: open}})
	send(cand, &controlv1.Report{
		State:    &controlv1.State{Phase: controlv1.State_SERVING, Listening: open},
		Handover: &controlv1.HandoverResult{From: 1, To: 2, Ok: true, Moved: 100},
	})
	r.eventually("generation 2 serving", func() bool { return r.status().Generation == 2 })
	want := axlev1.PodStatus{
		Joined: "axle-g2", Generation: 2, Version: "v2", Phase: axlev1.PhaseServing, Listening: open,
		Handover: &axlev1.HandoverResult{From: 1, To: 2, OK: true, Moved: 100},
	}
	if diff := cmp.Diff(want, r.status()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

// A sidecar that reports its end and is gone at once has been heard.
func TestLastWordsAreWritten(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	r := newReplica(t, pod("127.0.0.1", 1))
	for range 20 { // the writer may be faster or slower than the end of the stream
		str := r.connect(ctx, 1, "v1")
		for _, phase := range []controlv1.State_Phase{controlv1.State_SERVING, controlv1.State_LEAVING, controlv1.State_LEFT} {
			if err := str.Send(&controlv1.Report{State: &controlv1.State{Phase: phase}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := str.CloseSend(); err != nil {
			t.Fatal(err)
		}
		r.eventually("the word that it left", func() bool { return r.status().Phase == axlev1.PhaseLeft })
		r.eventually("forgetting the stream", func() bool { return !r.hub.knows("uid-1") })
		r.reset()
	}
}

// Of two streams of one sidecar the later one counts: the earlier may be one whose end nobody has noticed.
func TestTheLaterStreamCounts(t *testing.T) {
	var h hub
	for _, phase := range []controlv1.State_Phase{controlv1.State_SERVING, controlv1.State_LEFT} {
		s := &stream{who: who(1), generation: 1, wake: make(chan struct{}, 1)}
		h.open(s)
		h.heard(s, &controlv1.Report{State: &controlv1.State{Phase: phase}})
	}
	for range 50 {
		said, _ := h.said("uid-1")
		if len(said) != 1 || said[0].State.GetPhase() != controlv1.State_LEFT {
			t.Fatalf("said %v, want LEFT alone", said)
		}
	}
}

func TestConnectRefusesAnothersName(t *testing.T) {
	r := newReplica(t, pod("127.0.0.1", 1))
	cred, err := r.joinAs(who(1))
	if err != nil {
		t.Fatal(err)
	}
	for name, hello := range map[string]*controlv1.Hello{
		"no hello":           nil,
		"another pod":        {PodUid: "uid-2", Container: "axle-g1", Generation: 1},
		"another container":  {PodUid: "uid-1", Container: "axle-g2", Generation: 2},
		"another generation": {PodUid: "uid-1", Container: "axle-g1", Generation: 9},
	} {
		str, err := r.client.Connect(withBearer(context.Background(), cred.GetBearer()))
		if err != nil {
			t.Fatal(err)
		}
		if err := str.Send(&controlv1.Report{Hello: hello}); err != nil {
			t.Fatal(err)
		}
		if _, err := str.Recv(); status.Code(err) != codes.PermissionDenied && status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

// The operator's question whether what serves is connected is answered while it is, and not afterwards.
func TestWhatServesIsConfirmedWhileItIsConnected(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	r := newReplica(t, pod("127.0.0.1", 1))
	str := r.connect(ctx, 1, "v1")
	if err := str.Send(&controlv1.Report{State: &controlv1.State{Phase: controlv1.State_SERVING}}); err != nil {
		t.Fatal(err)
	}
	r.eventually("the word that it serves", func() bool { return r.status().Phase == axlev1.PhaseServing })
	r.want(`{"fleet":"default","generation":1,"version":"v1","confirm":41}`)
	r.eventually("the answer", func() bool { return r.status().Confirmed == 41 })
	if err := str.CloseSend(); err != nil {
		t.Fatal(err)
	}
	r.eventually("forgetting the stream", func() bool { return !r.hub.knows("uid-1") })
	r.want(`{"fleet":"default","generation":1,"version":"v1","confirm":42}`)
	if err := r.write(ctx, client.ObjectKey{Namespace: "payments", Name: "pay-0"}); err != nil {
		t.Fatal(err)
	}
	if got := r.status().Confirmed; got != 41 {
		t.Errorf("confirmed %d of a sidecar that is gone, want 41", got)
	}
}
