package membership

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

const (
	tcp  = axlev1.ProtocolTCP
	bolt = axlev1.ProtocolBolt
)

// app is a pod of label app=pay whose container declares these ports.
func app(ports ...corev1.ContainerPort) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "pay"}}}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Ports: ports}}
	return pod
}

// told is a pod with slots whose application was told a port.
func told(port int) *corev1.Pod {
	pod := app()
	for _, name := range []string{axlev1.SlotA, axlev1.SlotB} {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{
			Name: name, Env: []corev1.EnvVar{{Name: axlev1.AppPortEnv, Value: strconv.Itoa(port)}},
		})
	}
	return pod
}

func service(ports ...corev1.ServicePort) []*corev1.Service {
	return []*corev1.Service{{Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "pay"}, Ports: ports}}}
}

func TestPorts(t *testing.T) {
	cases := map[string]struct {
		spec     []axlev1.PortSpec
		pod      *corev1.Pod
		services []*corev1.Service
		want     []axlev1.PortSpec
	}{
		"no service": {pod: app()},
		"a named target port, with a protocol": {
			pod:      app(corev1.ContainerPort{Name: "rpc", ContainerPort: 12200}),
			services: service(corev1.ServicePort{Port: 80, TargetPort: intstr.FromString("rpc"), AppProtocol: new("axlemesh.io/bolt")}),
			want:     []axlev1.PortSpec{{AppPort: 12200, MeshPort: 15200, Protocol: bolt}},
		},
		"Dubbo, by either name": {
			pod:      app(),
			services: service(corev1.ServicePort{Port: 20880, AppProtocol: new("dubbo")}, corev1.ServicePort{Port: 20881, AppProtocol: new("axlemesh.io/dubbo")}),
			want: []axlev1.PortSpec{
				{AppPort: 20880, MeshPort: 23880, Protocol: axlev1.ProtocolDubbo}, {AppPort: 20881, MeshPort: 23881, Protocol: axlev1.ProtocolDubbo},
			},
		},
		"HTTP/2, by every name": {
			pod: app(),
			services: service(corev1.ServicePort{Port: 50051, AppProtocol: new("grpc")}, corev1.ServicePort{Port: 50052, AppProtocol: new("kubernetes.io/h2c")},
				corev1.ServicePort{Port: 50053, AppProtocol: new("http2")}, corev1.ServicePort{Port: 50054, AppProtocol: new("axlemesh.io/http2")},
				corev1.ServicePort{Port: 50055, AppProtocol: new("tri")}),
			want: []axlev1.PortSpec{
				{AppPort: 50051, MeshPort: 53051, Protocol: axlev1.ProtocolHTTP2}, {AppPort: 50052, MeshPort: 53052, Protocol: axlev1.ProtocolHTTP2},
				{AppPort: 50053, MeshPort: 53053, Protocol: axlev1.ProtocolHTTP2}, {AppPort: 50054, MeshPort: 53054, Protocol: axlev1.ProtocolHTTP2},
				{AppPort: 50055, MeshPort: 53055, Protocol: axlev1.ProtocolHTTP2},
			},
		},
		"mesh ports that are taken or impossible are left out": {
			pod: app(corev1.ContainerPort{ContainerPort: 11080}),
			services: service(
				corev1.ServicePort{Port: 9220}, corev1.ServicePort{Port: 9230}, // the sidecar's own
				corev1.ServicePort{Port: 8080},                                  // 11080 is the application's
				corev1.ServicePort{Port: 64000}, corev1.ServicePort{Port: 7000}, // 10000 is 7000's mesh port
				corev1.ServicePort{Port: 10000}),
			want: []axlev1.PortSpec{{AppPort: 10000, MeshPort: 13000, Protocol: tcp}},
		},
		"nothing is taken over from a running application": {
			spec: []axlev1.PortSpec{{AppPort: 12200, MeshPort: 20000, Takeover: true}}, pod: app(),
			want: []axlev1.PortSpec{{AppPort: 12200, MeshPort: 20000, Protocol: tcp}},
		},
		"what was taken over stays so": {
			spec: []axlev1.PortSpec{{AppPort: 12200, Protocol: bolt}, {AppPort: 8080}}, pod: told(12199),
			want: []axlev1.PortSpec{
				{AppPort: 8080, MeshPort: 11080, Protocol: tcp}, {AppPort: 12199, MeshPort: 12200, Protocol: bolt, Takeover: true},
			},
		},
		"also when only a service names it": {
			pod: told(12199), services: service(corev1.ServicePort{Port: 12200, AppProtocol: new("bolt")}),
			want: []axlev1.PortSpec{{AppPort: 12199, MeshPort: 12200, Protocol: bolt, Takeover: true}},
		},
		"and when nobody names it": {
			pod:  told(12199),
			want: []axlev1.PortSpec{{AppPort: 12199, MeshPort: 12200, Protocol: tcp, Takeover: true}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Ports(tc.spec, tc.pod, tc.services)); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPortsAtCreation(t *testing.T) {
	moved := axlev1.PortSpec{AppPort: 12199, MeshPort: 12200, Protocol: bolt, Takeover: true}
	cases := map[string]struct {
		spec []axlev1.PortSpec
		pod  *corev1.Pod
		want []axlev1.PortSpec
	}{
		"without takeover the application keeps its port": {
			spec: []axlev1.PortSpec{{AppPort: 12200, Protocol: bolt}}, pod: app(),
			want: []axlev1.PortSpec{{AppPort: 12200, MeshPort: 15200, Protocol: bolt}},
		},
		"the sidecar takes a port that the application declares": {
			spec: []axlev1.PortSpec{{AppPort: 12200, MeshPort: 15200, Protocol: bolt, Takeover: true}},
			pod:  app(corev1.ContainerPort{ContainerPort: 12200}), want: []axlev1.PortSpec{moved},
		},
		"the application is told one port": {
			spec: []axlev1.PortSpec{{AppPort: 12200, Protocol: bolt, Takeover: true}, {AppPort: 8080, Takeover: true}}, pod: app(),
			want: []axlev1.PortSpec{{AppPort: 8080, MeshPort: 11080, Protocol: tcp}, moved},
		},
		"nothing moves onto a port that the fleet lists": {
			spec: []axlev1.PortSpec{{AppPort: 12200, Protocol: bolt, Takeover: true}, {AppPort: 12199}}, pod: app(),
			want: []axlev1.PortSpec{{AppPort: 12199, MeshPort: 15199, Protocol: tcp}, {AppPort: 12200, MeshPort: 15200, Protocol: bolt}},
		},
		"nor onto one that a container declares": {
			spec: []axlev1.PortSpec{{AppPort: 12200, Protocol: bolt, Takeover: true}}, pod: app(corev1.ContainerPort{ContainerPort: 12199}),
			want: []axlev1.PortSpec{{AppPort: 12200, MeshPort: 15200, Protocol: bolt}},
		},
		"nor onto one of the sidecar's": {
			spec: []axlev1.PortSpec{{AppPort: 12221, Protocol: bolt, Takeover: true}}, pod: app(),
			want: []axlev1.PortSpec{{AppPort: 12221, MeshPort: 15221, Protocol: bolt}},
		},
		"there is no port below the first": {
			spec: []axlev1.PortSpec{{AppPort: 1, Takeover: true}}, pod: app(),
			want: []axlev1.PortSpec{{AppPort: 1, MeshPort: 3001, Protocol: tcp}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := PortsAtCreation(tc.spec, tc.pod, nil)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
		})
	}
}

// A rule of one direction: what was decided at creation is what the pod says for the rest of its life.
func TestCreationIsRemembered(t *testing.T) {
	spec := []axlev1.PortSpec{{AppPort: 12200, Protocol: bolt, Takeover: true}, {AppPort: 8080}}
	created := PortsAtCreation(spec, app(), nil)
	over := TakenOver(created)
	if over == nil {
		t.Fatal("nothing was taken over")
	}
	if diff := cmp.Diff(created, Ports(spec, told(int(over.AppPort)), nil)); diff != "" {
		t.Errorf("afterwards (-created +after):\n%s", diff)
	}
}
