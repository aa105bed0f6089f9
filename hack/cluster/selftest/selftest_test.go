package selftest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/axlemesh/axle/hack/cluster/node"
	"github.com/axlemesh/axle/hack/image/oci"
)

const namespace = "default"

// world is one cluster and one image, shared by the checks.
type world struct {
	cluster *node.Cluster
	client  kubernetes.Interface
	image   string
}

func TestCluster(t *testing.T) {
	if os.Getenv("AXLE_SELFTEST") == "" {
		t.Skip("starts a whole cluster as root; AXLE_SELFTEST=1 runs it")
	}
	o := node.Options{Name: "selftest", Out: t.Output()}
	t.Cleanup(func() { leavesNothing(t, o) })
	w := start(t, o)
	for _, check := range []struct {
		name string
		run  func(*testing.T, world)
	}{
		{"a second up changes nothing", func(t *testing.T, _ world) { start(t, o) }},
		{"pods find each other by name and see their real addresses", servicesByName},
		{"the host reaches a pod and its service", hostReachesPods},
		{"an admission webhook in a pod is called through its service", webhookIsCalled},
		{"a native sidecar changes its image in place", sidecarFlips},
		{"an ephemeral container joins a running pod", ephemeralJoins},
		{"a running pod is resized", podIsResized},
		{"a missing image is reported at once", missingImage},
		{"logs and exec work", logsAndExec},
		{"containers survive a restart of the kubelet", kubeletRestarts},
		{"up repairs a cluster whose processes were killed", repaired},
	} {
		t.Run(check.name, func(t *testing.T) { check.run(t, w) })
	}
}

func start(t *testing.T, o node.Options) world {
	t.Helper()
	began := time.Now()
	c, err := node.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("up: %s", time.Since(began).Round(time.Millisecond))
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	app, err := oci.Program(t.Context(), "", "./app", "app", "")
	if err != nil {
		t.Fatal(err)
	}
	image, err := c.Push(t.Context(), "selftest/app:1", app)
	if err != nil {
		t.Fatal(err)
	}
	return world{c, client, image}
}

// leavesNothing ends the cluster and looks for its remains.
func leavesNothing(t *testing.T, o node.Options) {
	began := time.Now()
	if err := node.Down(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	t.Logf("down: %s", time.Since(began).Round(time.Millisecond))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "cluster/selftest") || strings.Contains(line, "axle-run") {
			t.Errorf("mount left: %s", line)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{
		"/sys/fs/cgroup/axle-selftest", "/sys/fs/cgroup/*/axle-selftest",
		filepath.Join(cache, "axle/cluster/selftest"),
	} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		if data, _ := os.ReadFile(path); strings.Contains(string(data), "cluster/selftest/") {
			t.Errorf("process left: %s", strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
}

// eventually polls until check returns nil.
func eventually(t *testing.T, limit time.Duration, check func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := check()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			t.Fatalf("after %s: %v", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// pod describes a pod that runs the app with some arguments.
func (w world) pod(name string, args ...string) *corev1.Pod {
	grace := int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			RestartPolicy:                 corev1.RestartPolicyNever,
			Containers:                    []corev1.Container{{Name: "app", Image: w.image, Args: args}},
		},
	}
}

func (w world) create(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	if _, err := w.client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.client.CoreV1().Pods(namespace).Delete(context.Background(), pod.Name, *metav1.NewDeleteOptions(0))
	})
}

func (w world) get(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	pod, err := w.client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// running waits for the pod to be Ready and returns it.
func (w world) running(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	took := eventually(t, 30*time.Second, func() error {
		pod := w.get(t, name)
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("pod %s: %s %+v", name, pod.Status.Phase, pod.Status.ContainerStatuses)
	})
	t.Logf("pod %s is Ready after %s", name, took.Round(time.Millisecond))
	return w.get(t, name)
}

// output waits for the pod to end and returns what it printed.
func (w world) output(t *testing.T, name string) string {
	t.Helper()
	took := eventually(t, 30*time.Second, func() error {
		if phase := w.get(t, name).Status.Phase; phase != corev1.PodSucceeded && phase != corev1.PodFailed {
			return fmt.Errorf("pod %s: %s", name, phase)
		}
		return nil
	})
	t.Logf("pod %s has run after %s", name, took.Round(time.Millisecond))
	data, err := w.client.CoreV1().Pods(namespace).GetLogs(name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// service puts a Service in front of the pods of that name.
func (w world) service(t *testing.T, name string, port, target int32) *corev1.Service {
	t.Helper()
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name},
			Ports:    []corev1.ServicePort{{Port: port, TargetPort: intstrOf(target)}},
		},
	}
	s, err := w.client.CoreV1().Services(namespace).Create(t.Context(), s, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.client.CoreV1().Services(namespace).Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	return s
}
