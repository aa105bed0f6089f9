package identity

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	t0   = time.Unix(1_800_000_000, 0)
	keyA = bytes.Repeat([]byte{'a'}, KeySize)
	keyB = bytes.Repeat([]byte{'b'}, KeySize)
	pay  = Sidecar{PodUID: "uid-1", Namespace: "payments", Pod: "pay-0", Container: "axle-g1"}
)

func TestOpenJoin(t *testing.T) {
	signed, err := Keys{Current: keyA}.SignJoin(pay, t0)
	if err != nil {
		t.Fatal(err)
	}
	bearer, _, err := Keys{Current: keyA}.SignBearer(pay, t0)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(signed, ".")
	want := Join{Sidecar: pay, Expires: t0.Add(JoinLifetime).Unix()}
	cases := map[string]struct {
		keys  Keys
		token string
		now   time.Time
		want  Join
		err   error
	}{
		"good at once":                      {keys: Keys{Current: keyA}, token: signed, now: t0, want: want},
		"good in its last second":           {keys: Keys{Current: keyA}, token: signed, now: t0.Add(JoinLifetime), want: want},
		"expired one second later":          {keys: Keys{Current: keyA}, token: signed, now: t0.Add(JoinLifetime + time.Second), err: ErrExpired},
		"good under the previous key":       {keys: Keys{Current: keyB, Previous: keyA}, token: signed, now: t0, want: want},
		"another operator's":                {keys: Keys{Current: keyB}, token: signed, now: t0, err: ErrSignature},
		"no keys at all check nothing":      {token: signed, now: t0, err: ErrSignature},
		"a bearer is no join token":         {keys: Keys{Current: keyA}, token: bearer, now: t0, err: ErrMalformed},
		"a relabelled bearer is not either": {keys: Keys{Current: keyA}, token: joinKind + strings.TrimPrefix(bearer, bearerKind), now: t0, err: ErrSignature},
		"an altered payload":                {keys: Keys{Current: keyA}, token: parts[0] + "." + parts[1] + "A." + parts[2], now: t0, err: ErrSignature},
		"a cut signature":                   {keys: Keys{Current: keyA}, token: signed[:len(signed)-2], now: t0, err: ErrMalformed},
		"a line break in the signature":     {keys: Keys{Current: keyA}, token: signed[:len(signed)-4] + "\n" + signed[len(signed)-4:], now: t0, err: ErrMalformed},
		"no signature":                      {keys: Keys{Current: keyA}, token: parts[0] + "." + parts[1], now: t0, err: ErrMalformed},
		"empty":                             {keys: Keys{Current: keyA}, now: t0, err: ErrMalformed},
		"far too long":                      {keys: Keys{Current: keyA}, token: joinKind + "." + strings.Repeat("A", maxToken), now: t0, err: ErrMalformed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := tc.keys.OpenJoin(tc.token, tc.now)
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("join (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOpenBearer(t *testing.T) {
	keys := Keys{Current: keyA}
	token, made, err := keys.SignBearer(pay, t0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := made.RenewAfter(), t0.Add(BearerRenewAfter).Unix(); got != want {
		t.Errorf("renew after %d, want %d", got, want)
	}
	end := t0.Add(BearerLifetime)
	cases := map[string]struct {
		now   time.Time
		grace time.Duration
		err   error
	}{
		"at its end":                         {now: end},
		"after its end":                      {now: end.Add(time.Second), err: ErrExpired},
		"after its end, for a renewal":       {now: end.Add(29 * 24 * time.Hour), grace: RenewGrace},
		"too late even for a renewal":        {now: end.Add(RenewGrace + time.Second), grace: RenewGrace, err: ErrExpired},
		"a clock that is behind by a little": {now: t0.Add(-time.Minute)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := keys.OpenBearer(token, tc.now, tc.grace)
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(made, got); err == nil && diff != "" {
				t.Errorf("bearer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNothingIsSignedHalf(t *testing.T) {
	if _, err := (Keys{Current: keyA}).SignJoin(Sidecar{PodUID: "u"}, t0); !errors.Is(err, ErrMalformed) {
		t.Errorf("a join token without a pod name: error %v, want %v", err, ErrMalformed)
	}
	if _, err := (Keys{Current: keyA[:8]}).SignJoin(pay, t0); err == nil {
		t.Error("a short key signed a join token")
	}
	if _, _, err := (Keys{}).SignBearer(pay, t0); err == nil {
		t.Error("no key signed a bearer")
	}
}

func TestHandoverKey(t *testing.T) {
	keys := Keys{Current: keyA}
	base := keys.HandoverKey("uid-1", 1, 2)
	if again := keys.HandoverKey("uid-1", 1, 2); !bytes.Equal(base, again) {
		t.Error("two replicas would compute different keys")
	}
	for name, other := range map[string][]byte{
		"another pod":     keys.HandoverKey("uid-2", 1, 2),
		"the way back":    keys.HandoverKey("uid-1", 2, 1),
		"glued numbers":   keys.HandoverKey("uid-1", 11, 2),
		"another cluster": Keys{Current: keyB}.HandoverKey("uid-1", 1, 2),
	} {
		if bytes.Equal(base, other) {
			t.Errorf("%s has the same key", name)
		}
	}
}

func TestNewKeys(t *testing.T) {
	keys, err := NewKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Validate(); err != nil {
		t.Errorf("fresh keys: %v", err)
	}
	if _, err := NewKeys(strings.NewReader("short")); err == nil {
		t.Error("a source that ends early gave keys")
	}
}

// Tokens come from the network: whatever they hold, opening them returns.
func FuzzOpen(f *testing.F) {
	keys := Keys{Current: keyA}
	signed, _ := keys.SignJoin(pay, t0)
	bearer, _, _ := keys.SignBearer(pay, t0)
	f.Add(signed, []byte("{}"))
	f.Add(bearer, []byte(`{"uid":"u","ns":"n","pod":"p","c":"axle-g1","exp":9223372036854775807}`))
	f.Add("axj1..", []byte(`[1,2`))
	f.Add("axb1.e30.e30", []byte(`{"exp":1e400}`))
	f.Fuzz(func(t *testing.T, token string, payload []byte) {
		if j, err := keys.OpenJoin(token, t0); err == nil && token != signed {
			t.Fatalf("%q opened as %+v", token, j)
		}
		if b, err := keys.OpenBearer(token, t0, 0); err == nil && token != bearer {
			t.Fatalf("%q opened as %+v", token, b)
		}
		// What passed the signature may still be nonsense.
		body := joinKind + "." + base64.RawURLEncoding.EncodeToString(payload)
		j, err := keys.OpenJoin(body+"."+base64.RawURLEncoding.EncodeToString(mac(keyA, body)), t0)
		if err == nil && j.complete() != nil {
			t.Fatalf("payload %q opened incomplete as %+v", payload, j)
		}
	})
}
