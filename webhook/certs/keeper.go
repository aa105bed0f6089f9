package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The keys of the Secret.
const (
	bundleKey    = "ca.crt"
	signerKey    = "ca.key"
	nextKey      = "next.key"
	servingCert  = corev1.TLSCertKey
	servingKey   = corev1.TLSPrivateKeyKey
	syncAttempts = 5
)

// ErrNotReady is what a handshake gets before the first Sync has succeeded.
var ErrNotReady = errors.New("the operator has no certificate yet")

// +kubebuilder:rbac:groups="",namespace=axle-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=axle-system,resources=secrets,resourceNames=axle-operator-tls,verbs=get;update
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations,resourceNames=axle-injector,verbs=get;update

// Keeper keeps one replica's view of the certificates fresh: it reads the
// Secret, renews what has to be renewed (replicas race for it by resourceVersion
// and all use what was written), and tells the API server whom to trust.
//
// Every replica runs one; call Sync before anything serves, then Start.
type Keeper struct {
	// Client must not be a cached one: the operator may read these two objects and not list their kinds.
	Client client.Client
	// Secret that the replicas share; created when it is absent.
	Secret types.NamespacedName
	// Webhook names the MutatingWebhookConfiguration whose caBundle is kept right.
	Webhook string
	// Names are the DNS names of the serving certificate.
	Names []string
	// Clock for validity and for the time between two looks.
	Clock clock.WithTicker
	// Interval between two looks. Default: 30 s; 2 s after one that failed.
	Interval time.Duration
	Log      logr.Logger

	current atomic.Pointer[served]
}

// served is what handshakes use; it is replaced as a whole.
type served struct {
	bundle []byte
	cert   tls.Certificate
}

// ServiceNames are the DNS names of a Service, the one that clients use first.
func ServiceNames(service, namespace string) []string {
	host := service + "." + namespace + ".svc"
	return []string{host, host + ".cluster.local", service + "." + namespace}
}

// Start looks at the Secret and the webhook, at once and then again and again, until ctx ends.
func (k *Keeper) Start(ctx context.Context) error {
	for {
		wait := k.Interval
		if wait == 0 {
			wait = 30 * time.Second
		}
		if err := errors.Join(k.Sync(ctx), k.Inject(ctx)); err != nil && ctx.Err() == nil {
			wait = min(wait, 2*time.Second)
			k.Log.Error(err, "certificates are not up to date")
		}
		timer := k.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C():
		}
	}
}

// NeedLeaderElection says that every replica keeps its own view.
func (k *Keeper) NeedLeaderElection() bool { return false }

// CABundle is the PEM bundle of authorities to trust; nil before the first Sync.
// It grows by the next authority 30 days before that one signs anything.
func (k *Keeper) CABundle() []byte {
	if s := k.current.Load(); s != nil {
		return s.bundle
	}
	return nil
}

// GetCertificate is for a tls.Config.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s := k.current.Load(); s != nil {
		return &s.cert, nil
	}
	return nil, ErrNotReady
}

// Configure makes a server present the kept certificate.
func (k *Keeper) Configure(c *tls.Config) {
	c.GetCertificate = k.GetCertificate
	c.MinVersion = tls.VersionTLS12
}

// Ready is a health check: nil once there is a certificate.
func (k *Keeper) Ready(*http.Request) error {
	if k.current.Load() == nil {
		return ErrNotReady
	}
	return nil
}

// Sync reads the Secret, renews it when it is due, and serves what is in it.
func (k *Keeper) Sync(ctx context.Context) error {
	var err error
	for range syncAttempts {
		var m Material
		if m, err = k.renew(ctx); err == nil {
			return k.serve(m)
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			break // else another replica was faster: use what it wrote
		}
	}
	return fmt.Errorf("keep the certificates in Secret %s: %w", k.Secret, err)
}

func (k *Keeper) renew(ctx context.Context) (Material, error) {
	secret := &corev1.Secret{}
	err := k.Client.Get(ctx, k.Secret, secret)
	absent := apierrors.IsNotFound(err)
	if err != nil && !absent {
		return Material{}, fmt.Errorf("read: %w", err)
	}
	m, did, err := Renew(material(secret), k.Names, k.Clock.Now())
	if err != nil {
		return Material{}, fmt.Errorf("%w (to start over, which cuts off every running sidecar, delete the Secret)", err)
	}
	if len(did) == 0 {
		return m, nil
	}
	m.into(secret)
	if absent {
		secret.Name, secret.Namespace, secret.Type = k.Secret.Name, k.Secret.Namespace, corev1.SecretTypeTLS
		secret.Labels = map[string]string{"app.kubernetes.io/name": "axle", "app.kubernetes.io/managed-by": "axle-operator"}
		err = k.Client.Create(ctx, secret)
	} else {
		err = k.Client.Update(ctx, secret)
	}
	if err != nil {
		return Material{}, fmt.Errorf("write: %w", err)
	}
	k.Log.Info("renewed the operator's certificates", "done", strings.Join(did, "; "))
	return m, nil
}

func (k *Keeper) serve(m Material) error {
	cert, err := tls.X509KeyPair(m.Cert, m.CertKey)
	if err != nil {
		return fmt.Errorf("use the certificate in Secret %s: %w", k.Secret, err)
	}
	if s := k.current.Load(); s == nil || !bytes.Equal(s.bundle, m.Bundle) || !bytes.Equal(s.cert.Certificate[0], cert.Certificate[0]) {
		k.current.Store(&served{bundle: m.Bundle, cert: cert})
	}
	return nil
}

// Inject writes the bundle into the webhook configuration, where Helm left it
// empty or someone took it away.
func (k *Keeper) Inject(ctx context.Context) error {
	bundle := k.CABundle()
	if bundle == nil {
		return fmt.Errorf("trust the webhook %q: %w", k.Webhook, ErrNotReady)
	}
	hooks := &admissionv1.MutatingWebhookConfiguration{}
	if err := k.Client.Get(ctx, types.NamespacedName{Name: k.Webhook}, hooks); err != nil {
		return fmt.Errorf("read the webhook configuration: %w", err)
	}
	changed := false
	for i := range hooks.Webhooks {
		if c := &hooks.Webhooks[i].ClientConfig; !bytes.Equal(c.CABundle, bundle) {
			c.CABundle, changed = bundle, true
		}
	}
	if !changed {
		return nil
	}
	if err := k.Client.Update(ctx, hooks); err != nil {
		return fmt.Errorf("write the authorities into the webhook configuration: %w", err)
	}
	k.Log.Info("told the API server whom to trust", "webhook", k.Webhook)
	return nil
}

func material(s *corev1.Secret) Material {
	return Material{
		Bundle: s.Data[bundleKey], Key: s.Data[signerKey], NextKey: s.Data[nextKey],
		Cert: s.Data[servingCert], CertKey: s.Data[servingKey],
	}
}

func (m Material) into(s *corev1.Secret) {
	s.Data = map[string][]byte{bundleKey: m.Bundle, signerKey: m.Key, servingCert: m.Cert, servingKey: m.CertKey}
	if len(m.NextKey) > 0 {
		s.Data[nextKey] = m.NextKey
	}
}
