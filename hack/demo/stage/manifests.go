package stage

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/peers/boltclient"
)

// The application: three servers that keep a ledger, three clients that post to it.
const (
	serverName = "ledger"
	grownName  = "ledger-v2"
	clientName = "cashier"
	replicas   = 3
	boltPort   = 12200
	webPort    = 8080
	partOf     = "axle-demo"
	nameLabel  = "app.kubernetes.io/name"

	// Pods and Connections of the whole application.
	Pods        = 2 * replicas
	Connections = 100
	// rate of requests per second in all: well under half of what two cores can do with everything else beside it.
	rate = 600
)

// Versions of the application: the pods that are there from the beginning, and those that a Deployment gets later.
const (
	versionLabel = "version"
	versionOld   = "v1"
	versionNew   = "v2"
)

func labels(app string) map[string]string {
	return map[string]string{nameLabel: app, "app.kubernetes.io/part-of": partOf}
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:   name,
		Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted", "app.kubernetes.io/part-of": partOf},
	}}
}

// service is how clients call without a mesh; its annotation says which RPC service its pods provide.
func service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: serverName, Labels: labels(serverName),
			Annotations: map[string]string{axlev1.ServicesAnnotation: boltclient.DefaultService},
		},
		Spec: corev1.ServiceSpec{
			Selector: labels(serverName),
			Ports: []corev1.ServicePort{{
				Name: "bolt", Port: boltPort, TargetPort: intstr.FromInt32(boltPort), AppProtocol: new("axlemesh.io/bolt"),
			}},
		},
	}
}

// servers of one version of the application; the Service takes all of them.
func servers(name, version, image string, pods int) *appsv1.Deployment {
	own := labels(serverName)
	own[versionLabel] = version
	template := pod(serverName, image, nil,
		"server", fmt.Sprintf("-listen=:%d", boltPort), fmt.Sprintf("-http=:%d", webPort), "-delay=2ms")
	template.Labels[versionLabel] = version
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: own},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(pods)),
			Selector: &metav1.LabelSelector{MatchLabels: own},
			Template: template,
		},
	}
}

// clients are a stateful set because each has to know which part of the connections is its own.
func clients(image, namespace string) *appsv1.StatefulSet {
	env := []corev1.EnvVar{{Name: "INDEX", ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['apps.kubernetes.io/pod-index']"},
	}}}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: clientName, Labels: labels(clientName)},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(replicas)), ServiceName: clientName, PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector: &metav1.LabelSelector{MatchLabels: labels(clientName)},
			Template: pod(clientName, image, env,
				"client", fmt.Sprintf("-direct=%s.%s.svc:%d", serverName, namespace, boltPort), fmt.Sprintf("-http=:%d", webPort),
				fmt.Sprintf("-connections=%d", Connections), fmt.Sprintf("-rate=%d", rate), fmt.Sprintf("-of=%d", replicas), "-index=$(INDEX)"),
		},
	}
}

func pod(app, image string, env []corev1.EnvVar, args ...string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels(app)},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken:  new(false),
			TerminationGracePeriodSeconds: new(int64(5)),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: app, Image: image, Args: args, Env: env,
				ReadinessProbe: &corev1.Probe{
					ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(webPort)}},
					PeriodSeconds: 2,
				},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
				}},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}
