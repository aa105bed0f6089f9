package identity

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The Secret that the replicas share, in the operator's namespace.
const (
	SecretName  = "axle-operator-keys"
	currentKey  = "current"
	previousKey = "previous"
)

// refreshEvery is how often a replica looks whether someone rotated the keys.
const refreshEvery = time.Minute

// +kubebuilder:rbac:groups="",namespace=axle-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=axle-system,resources=secrets,resourceNames=axle-operator-keys,verbs=get

// Ring holds the keys that are in force. It is good for use by many goroutines after Load.
//
// To rotate: copy current to previous and write a new current into the Secret. Replicas notice within a minute, and tokens
// signed by the old key stay good until the next rotation.
type Ring struct {
	// Client reads and creates the Secret; it must not be a cached one, which would watch every Secret.
	Client    client.Client
	Namespace string
	Clock     clock.WithTicker
	Random    io.Reader
	Log       logr.Logger

	keys atomic.Pointer[Keys]
}

// Fixed is a Ring that never changes, for tests and for programs without a cluster.
func Fixed(k Keys) *Ring {
	r := &Ring{}
	r.keys.Store(&k)
	return r
}

// Keys in force; the zero value, which signs nothing, before Load.
func (r *Ring) Keys() Keys {
	if k := r.keys.Load(); k != nil {
		return *k
	}
	return Keys{}
}

// Load reads the Secret, creating it when it is absent. Of replicas that start together one creates it and the others
// read it.
func (r *Ring) Load(ctx context.Context) error {
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: r.Namespace, Name: SecretName}
	err := r.Client.Get(ctx, key, secret)
	if apierrors.IsNotFound(err) {
		if secret, err = r.create(ctx); apierrors.IsAlreadyExists(err) {
			secret = &corev1.Secret{}
			err = r.Client.Get(ctx, key, secret)
		}
	}
	if err != nil {
		return fmt.Errorf("load keys from secret %s: %w", key, err)
	}
	keys := Keys{Current: secret.Data[currentKey], Previous: secret.Data[previousKey]}
	if err := keys.Validate(); err != nil {
		return fmt.Errorf("keys in secret %s: %w", key, err)
	}
	r.keys.Store(&keys)
	return nil
}

func (r *Ring) create(ctx context.Context) (*corev1.Secret, error) {
	keys, err := NewKeys(r.Random)
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: SecretName},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{currentKey: keys.Current},
	}
	return secret, r.Client.Create(ctx, secret)
}

// MintJoin signs a join token, for the webhook that puts it into a container's environment.
func (r *Ring) MintJoin(podUID, namespace, name, container string, now time.Time) (string, error) {
	return r.Keys().SignJoin(Sidecar{PodUID: podUID, Namespace: namespace, Pod: name, Container: container}, now)
}

// Start refreshes the keys until ctx ends. Errors leave the keys that are in force.
func (r *Ring) Start(ctx context.Context) error {
	ticker := r.Clock.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			if err := r.Load(ctx); err != nil && ctx.Err() == nil {
				r.Log.Error(err, "keys not refreshed; the ones in force stay")
			}
		}
	}
}

// NeedLeaderElection is false: every replica signs and checks.
func (r *Ring) NeedLeaderElection() bool { return false }
