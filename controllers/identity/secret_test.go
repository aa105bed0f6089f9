package identity

import (
	"bytes"
	"context"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

func TestRing(t *testing.T) {
	ctx := context.Background()
	store := fake.NewClientBuilder().Build()
	replica := func(seed byte) *Ring {
		return &Ring{
			Client: store, Namespace: "axle-system", Clock: clocktesting.NewFakeClock(t0), Log: logr.Discard(),
			Random: bytes.NewReader(bytes.Repeat([]byte{seed}, KeySize)),
		}
	}
	first, second := replica(1), replica(2)
	if first.Keys().Validate() == nil {
		t.Error("a ring that loaded nothing has valid keys")
	}
	for _, r := range []*Ring{first, second} {
		if err := r.Load(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Keys().Current, second.Keys().Current) {
		t.Error("two replicas have different keys")
	}

	token, err := first.Keys().SignJoin(pay, t0)
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{}
	if err := store.Get(ctx, client.ObjectKey{Namespace: "axle-system", Name: SecretName}, secret); err != nil {
		t.Fatal(err)
	}
	secret.Data[previousKey], secret.Data[currentKey] = secret.Data[currentKey], keyB
	if err := store.Update(ctx, secret); err != nil {
		t.Fatal(err)
	}
	if err := second.Load(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Keys().OpenJoin(token, t0); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
}

func TestRingRefusesShortKeys(t *testing.T) {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "axle-system", Name: SecretName},
		Data:       map[string][]byte{currentKey: []byte("short")},
	}
	r := &Ring{Client: fake.NewClientBuilder().WithObjects(secret).Build(), Namespace: "axle-system"}
	if err := r.Load(context.Background()); err == nil {
		t.Error("a short key was loaded")
	}
}
