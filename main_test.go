package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/testport"
	"github.com/axlemesh/axle/webhook/certs"
)

// The whole operator starts with nothing but its own rights, becomes ready, creates the defaults, takes TLS
// connections with the certificate that sidecars check, and ends when it is told to.
func TestRun(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS has to name a folder with kube-apiserver and etcd: run `make test`, or set it to what `go run ./hack/cluster assets` prints")
	}
	env := &envtest.Environment{CRDDirectoryPaths: []string{"config/crd/bases"}, ErrorIfCRDPathMissing: true}
	cfg, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, axlev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	admin, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "axle-system"}}); err != nil {
		t.Fatal(err)
	}
	grant(ctx, t, admin)

	t.Setenv("KUBECONFIG", asOperator(t, env))
	o := options{
		namespace: "axle-system", service: "axle-operator", account: "axle-operator", webhookPort: testport.Free(t),
		controlAddress: fmt.Sprintf("127.0.0.1:%d", testport.Free(t)), metricsAddress: "0", healthAddress: fmt.Sprintf("127.0.0.1:%d", testport.Free(t)),
		leaderElect: true, defaultsFile: defaultsFile(t),
	}
	run1, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- run(run1, o) }()
	defer stop()
	until(ctx, t, ended, "readiness", func() error { return ready(ctx, o.healthAddress) })
	until(ctx, t, ended, "the default fleet", func() error {
		return admin.Get(ctx, client.ObjectKey{Name: "default"}, &axlev1.SidecarFleet{})
	})
	until(ctx, t, ended, "the fleet's status", func() error {
		f := &axlev1.SidecarFleet{}
		if err := admin.Get(ctx, client.ObjectKey{Name: "default"}, f); err != nil {
			return err
		}
		if len(f.Status.Conditions) == 0 {
			return fmt.Errorf("no conditions")
		}
		return nil
	})
	secret := &corev1.Secret{}
	if err := admin.Get(ctx, client.ObjectKey{Namespace: "axle-system", Name: tlsSecret}, secret); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(secret.Data["ca.crt"])
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: certs.ServiceNames("axle-operator", "axle-system")[0], NextProtos: []string{"h2"}}}
	conn, err := dialer.DialContext(ctx, "tcp", o.controlAddress)
	if err != nil {
		t.Fatalf("connect as a sidecar: %v", err)
	}
	_ = conn.Close()
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-ctx.Done():
		t.Error("run did not end")
	}
}

// grant gives the operator's account the rights of config/rbac, and nothing else.
func grant(ctx context.Context, t *testing.T, admin client.Client) {
	t.Helper()
	for _, file := range []string{"service_account.yaml", "role.yaml", "bindings.yaml"} {
		raw, err := os.ReadFile(filepath.Join("config", "rbac", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects(t, raw) {
			if err := admin.Create(ctx, o); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
}

func objects(t *testing.T, raw []byte) []*unstructured.Unstructured {
	t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	var all []*unstructured.Unstructured
	for {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(o); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if len(o.Object) > 0 {
			all = append(all, o)
		}
	}
}

// asOperator writes a kubeconfig that acts as the operator's service account.
func asOperator(t *testing.T, env *envtest.Environment) string {
	t.Helper()
	kubeconfig, err := clientcmd.Load(env.KubeConfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range kubeconfig.AuthInfos {
		user.Impersonate = "system:serviceaccount:axle-system:axle-operator"
		user.ImpersonateGroups = []string{"system:serviceaccounts", "system:authenticated"}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func defaultsFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "defaults.yaml")
	text := "apiVersion: axlemesh.io/v1alpha1\nkind: SidecarFleet\nmetadata: {name: default}\nspec: {version: v1-0-0}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func ready(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz says %s", res.Status)
	}
	return nil
}

// until waits for something that the operator does.
func until(ctx context.Context, t *testing.T, ended <-chan error, what string, ok func() error) {
	t.Helper()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case end := <-ended:
			t.Fatalf("the operator ended before %s: %v", what, end)
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
