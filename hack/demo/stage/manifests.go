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

// The application: three servers that keep a ledger over Bolt and three clients that post to it; two servers of a shop over HTTP/1.1 and one
// visitor.
const (
	serverName = "ledger"
	grownName  = "ledger-v2"
	clientName = "cashier"
	replicas   = 3
	boltPort   = 12200

	shopName     = "shop"
	visitorName  = "visitor"
	shopReplicas = 2
	visitors     = 1
	shopPort     = 8081

	webPort   = 8080
	partOf    = "axle-demo"
	nameLabel = "app.kubernetes.io/name"

	// Pods and Connections of the whole application.
	Pods        = 2*replicas + shopReplicas + visitors
	Connections = boltConnections + httpConnections

	boltConnections = 100
	httpConnections = 20
	// rates of requests per second in all: well under half of what two cores can do with everything else beside it.
	boltRate = 500
	httpRate = 100
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

// shop is the Service of the HTTP servers.
func shop() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: shopName, Labels: labels(shopName)},
		Spec: corev1.ServiceSpec{
			Selector: labels(shopName),
			Ports:    []corev1.ServicePort{{Name: "http", Port: shopPort, TargetPort: intstr.FromInt32(shopPort), AppProtocol: new("http")}},
		},
	}
}

func shopServers(image string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: shopName, Labels: labels(shopName)},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(shopReplicas)),
			Selector: &metav1.LabelSelector{MatchLabels: labels(shopName)},
			Template: pod(shopName, image, nil,
				"http-server", fmt.Sprintf("-listen=:%d", shopPort), fmt.Sprintf("-http=:%d", webPort), "-delay=2ms"),
		},
	}
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

// clients post to the ledger over Bolt.
func clients(image, namespace string) *appsv1.StatefulSet {
	return callers(clientName, image, replicas,
		"client", fmt.Sprintf("-direct=%s.%s.svc:%d", serverName, namespace, boltPort),
		fmt.Sprintf("-connections=%d", boltConnections), fmt.Sprintf("-rate=%d", boltRate))
}

// shopVisitors call the shop over HTTP/1.1.
func shopVisitors(image, namespace string) *appsv1.StatefulSet {
	return callers(visitorName, image, visitors,
		"http-client", fmt.Sprintf("-direct=%s.%s.svc:%d", shopName, namespace, shopPort),
		fmt.Sprintf("-connections=%d", httpConnections), fmt.Sprintf("-rate=%d", httpRate))
}

// callers are a stateful set because each has to know which part of the connections is its own.
func callers(name, image string, pods int, args ...string) *appsv1.StatefulSet {
	args = append(args, fmt.Sprintf("-http=:%d", webPort), fmt.Sprintf("-of=%d", pods), "-index=$(INDEX)")
	env := []corev1.EnvVar{{Name: "INDEX", ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['apps.kubernetes.io/pod-index']"},
	}}}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels(name)},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(pods)), ServiceName: name, PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector: &metav1.LabelSelector{MatchLabels: labels(name)},
			Template: pod(name, image, env, args...),
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
