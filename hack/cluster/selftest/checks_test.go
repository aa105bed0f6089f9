package selftest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/axlemesh/axle/hack/cluster/node"
	"github.com/axlemesh/axle/hack/cluster/pki"
	"github.com/axlemesh/axle/hack/cluster/settings"
)

func intstrOf(port int32) intstr.IntOrString { return intstr.FromInt32(port) }

func servicesByName(t *testing.T, w world) {
	w.create(t, w.pod("web", "serve"))
	w.service(t, "web", 80, 8080)
	w.running(t, "web")
	w.create(t, w.pod("caller", "fetch", "http://web.default.svc.cluster.local/"))
	got := w.output(t, "caller")
	if want := w.get(t, "caller").Status.PodIP; got != want {
		t.Errorf("the server saw %q, want the caller's address %q", got, want)
	}
	w.create(t, w.pod("short", "fetch", "http://web/"))
	if got := w.output(t, "short"); net.ParseIP(got) == nil {
		t.Errorf("fetch by short name: %q", got)
	}
	w.create(t, w.pod("outside", "fetch", "http://10.99.99.99/"))
	if out := w.output(t, "outside"); !strings.Contains(out, "unreachable") && !strings.Contains(out, "no route") {
		t.Errorf("fetch from outside the cluster: %q", out)
	}
}

func hostReachesPods(t *testing.T, w world) {
	w.create(t, w.pod("web", "serve"))
	service := w.service(t, "web", 80, 8080)
	pod := w.running(t, "web")
	client := http.Client{Transport: &http.Transport{DialContext: w.cluster.DialContext}}
	for _, address := range []string{pod.Status.PodIP + ":8080", service.Spec.ClusterIP + ":80"} {
		eventually(t, 10*time.Second, func() error {
			response, err := client.Get("http://" + address)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if data, _ := io.ReadAll(response.Body); string(data) != "10.244.0.1" && string(data) != settings.NodeAddress {
				t.Errorf("%s saw %q", address, data)
			}
			return nil
		})
	}
}

func webhookIsCalled(t *testing.T, w world) {
	ca, caPair, err := pki.NewAuthority("selftest", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(pki.Subject{User: "hook", Hosts: []string{"hook.default.svc"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "hook"},
		Data:       map[string][]byte{"tls.crt": pair.Cert, "tls.key": pair.Key},
	}
	if _, err := w.client.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := w.pod("hook", "webhook")
	pod.Spec.Volumes = []corev1.Volume{{Name: "tls", VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: "hook"},
	}}}
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "tls", MountPath: "/tls"}}
	w.create(t, pod)
	w.service(t, "hook", 443, 8443)
	w.running(t, "hook")
	w.registerWebhook(t, caPair.Cert)
	took := eventually(t, 20*time.Second, func() error {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "seen-"}}
		got, err := w.client.CoreV1().ConfigMaps(namespace).Create(t.Context(), object, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if got.Annotations["selftest/seen"] != "yes" {
			return fmt.Errorf("the webhook was not called: %v", got.Annotations)
		}
		return nil
	})
	t.Logf("the webhook is called after %s", took.Round(time.Millisecond))
}

func (w world) registerWebhook(t *testing.T, ca []byte) {
	t.Helper()
	fail, none := admissionv1.Fail, admissionv1.SideEffectClassNone
	hook := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "selftest"},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: "hook.selftest.example.com", FailurePolicy: &fail, SideEffects: &none,
			AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionv1.WebhookClientConfig{
				CABundle: ca, Service: &admissionv1.ServiceReference{Namespace: namespace, Name: "hook"},
			},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}
	hooks := w.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := hooks.Create(t.Context(), hook, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.client.AdmissionregistrationV1().MutatingWebhookConfigurations().
			Delete(context.Background(), "selftest", metav1.DeleteOptions{}); err != nil {
			t.Log(err)
		}
	})
}

func sidecarFlips(t *testing.T, w world) {
	always := corev1.ContainerRestartPolicyAlways
	pod := w.pod("slots", "idle")
	pod.Spec.InitContainers = []corev1.Container{{
		Name: "sidecar", Image: w.image, Args: []string{"serve"}, RestartPolicy: &always,
	}}
	w.create(t, pod)
	before := w.running(t, "slots").Status.InitContainerStatuses[0].ContainerID
	repository, digest, _ := strings.Cut(w.image, "@")
	patch := fmt.Sprintf(`{"spec":{"initContainers":[{"name":"sidecar","image":%q}]}}`, repository+":g2@"+digest)
	_, err := w.client.CoreV1().Pods(namespace).Patch(t.Context(), "slots", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	took := eventually(t, 20*time.Second, func() error {
		status := w.get(t, "slots").Status.InitContainerStatuses[0]
		if status.ContainerID == before || status.State.Running == nil {
			return fmt.Errorf("sidecar: %+v", status)
		}
		return nil
	})
	t.Logf("the sidecar runs its new image after %s", took.Round(time.Millisecond))
}

func ephemeralJoins(t *testing.T, w world) {
	w.create(t, w.pod("host", "idle"))
	pod := w.running(t, "host")
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "guest", Image: w.image, Args: []string{"serve"}},
	}}
	_, err := w.client.CoreV1().Pods(namespace).UpdateEphemeralContainers(t.Context(), "host", pod, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	took := eventually(t, 20*time.Second, func() error {
		conn, err := w.cluster.DialContext(t.Context(), "tcp", pod.Status.PodIP+":8080")
		if err != nil {
			return err
		}
		return conn.Close()
	})
	t.Logf("the ephemeral container serves after %s", took.Round(time.Millisecond))
}

func podIsResized(t *testing.T, w world) {
	pod := w.pod("sized", "idle")
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m")},
	}
	w.create(t, pod)
	w.running(t, "sized")
	const patch = `{"spec":{"containers":[{"name":"app","resources":{"limits":{"cpu":"500m"}}}]}}`
	_, err := w.client.CoreV1().Pods(namespace).Patch(t.Context(), "sized", types.StrategicMergePatchType, []byte(patch),
		metav1.PatchOptions{}, "resize")
	if err != nil {
		t.Fatal(err)
	}
	took := eventually(t, 20*time.Second, func() error {
		status := w.get(t, "sized").Status.ContainerStatuses[0]
		if status.Resources == nil || status.Resources.Limits.Cpu().String() != "500m" {
			return fmt.Errorf("resources %+v", status.Resources)
		}
		if status.RestartCount != 0 {
			t.Errorf("restarted %d times", status.RestartCount)
		}
		return nil
	})
	t.Logf("the new limit is in the status after %s", took.Round(time.Millisecond))
}

func missingImage(t *testing.T, w world) {
	pod := w.pod("broken", "idle")
	pod.Spec.Containers[0].Image = w.cluster.Registry() + "/selftest/no-such-image:1"
	w.create(t, pod)
	took := eventually(t, 20*time.Second, func() error {
		for _, status := range w.get(t, "broken").Status.ContainerStatuses {
			if wait := status.State.Waiting; wait != nil && (wait.Reason == "ErrImagePull" || wait.Reason == "ImagePullBackOff") {
				return nil
			}
		}
		return fmt.Errorf("not reported yet: %+v", w.get(t, "broken").Status)
	})
	t.Logf("reported after %s", took.Round(time.Millisecond))
}

func logsAndExec(t *testing.T, w world) {
	w.create(t, w.pod("web", "serve"))
	w.running(t, "web")
	cmd := exec.CommandContext(t.Context(), w.cluster.Programs()+"/kubectl", "exec", "web", "--", "/app", "fetch", "http://127.0.0.1:8080/")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.cluster.Kubeconfig())
	began := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("exec took %s", time.Since(began).Round(time.Millisecond))
	if err != nil || !strings.Contains(string(out), "127.0.0.1") {
		t.Errorf("exec: %v %s", err, out)
	}
	tasks, err := w.cluster.Command(t.Context(), "ctr", "tasks", "list", "-q")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := tasks.CombinedOutput(); err != nil || len(out) == 0 {
		t.Errorf("ctr on the node: %v %s", err, out)
	}
}

func kubeletRestarts(t *testing.T, w world) {
	w.create(t, w.pod("stays", "serve"))
	before := w.running(t, "stays").Status.ContainerStatuses[0]
	began := time.Now()
	if err := w.cluster.RestartKubelet(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("the kubelet restarted in %s", time.Since(began).Round(time.Millisecond))
	w.create(t, w.pod("later", "serve"))
	w.running(t, "later")
	after := w.get(t, "stays").Status.ContainerStatuses[0]
	if before.ContainerID != after.ContainerID || after.RestartCount != 0 {
		t.Errorf("the container changed: %+v, then %+v", before, after)
	}
}

func repaired(t *testing.T, w world) {
	for _, name := range []string{settings.Etcd, settings.APIServer, settings.Kubelet, settings.Containerd, settings.DNS, settings.Relay} {
		if err := w.cluster.Kill(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	start(t, node.Options{Name: "selftest", Out: t.Output()})
	w.create(t, w.pod("again", "serve"))
	w.running(t, "again")
}
