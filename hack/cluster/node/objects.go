package node

import (
	"context"
	"fmt"
	"runtime"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/axlemesh/axle/hack/cluster/settings"
)

// createObjects creates the Node before its kubelet starts (a registration in
// the apiserver's first seconds can take longer than the kubelet is willing to
// wait for its CSINode), and what DNS needs.
func (c *Cluster) createObjects(ctx context.Context) error {
	client, err := c.Client()
	if err != nil {
		return err
	}
	for _, create := range []func(context.Context, kubernetes.Interface) error{
		c.createNode, createDNSRole, createDNSBinding, createDNSService, createDNSEndpoints,
	} {
		if err := create(ctx, client); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

func (c *Cluster) createNode(ctx context.Context, client kubernetes.Interface) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: c.layout.Node,
		Labels: map[string]string{
			corev1.LabelHostname:   c.layout.Node,
			corev1.LabelOSStable:   "linux",
			corev1.LabelArchStable: runtime.GOARCH,
		},
	}}
	if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create node %s: %w", node.Name, err)
	}
	return nil
}

const dnsRole = "system:coredns"

func createDNSRole(ctx context.Context, client kubernetes.Interface) error {
	watch := []string{"list", "watch"}
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: dnsRole},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"services", "pods", "namespaces"}, Verbs: watch},
			{APIGroups: []string{discoveryv1.GroupName}, Resources: []string{"endpointslices"}, Verbs: watch},
		},
	}
	if _, err := client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create cluster role %s: %w", role.Name, err)
	}
	return nil
}

func createDNSBinding(ctx context.Context, client kubernetes.Interface) error {
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: dnsRole},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: dnsRole},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: dnsRole}},
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create cluster role binding %s: %w", binding.Name, err)
	}
	return nil
}

const dnsService = "kube-dns"

// createDNSService names DNS as on every cluster. It has no selector: CoreDNS
// runs on the node, beside the kubelet.
func createDNSService(ctx context.Context, client kubernetes.Interface) error {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: dnsService, Namespace: metav1.NamespaceSystem,
			Labels: map[string]string{"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: settings.DNSService,
			Ports: []corev1.ServicePort{
				{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
				{Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP},
			},
		},
	}
	services := client.CoreV1().Services(service.Namespace)
	if _, err := services.Get(ctx, service.Name, metav1.GetOptions{}); err == nil {
		return nil // creating it again would complain of the address, not of the name
	}
	if _, err := services.Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create service %s: %w", service.Name, err)
	}
	return nil
}

func createDNSEndpoints(ctx context.Context, client kubernetes.Interface) error {
	port, udp, tcp := int32(53), corev1.ProtocolUDP, corev1.ProtocolTCP
	udpName, tcpName := "dns", "dns-tcp"
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: dnsService, Namespace: metav1.NamespaceSystem,
			Labels: map[string]string{
				discoveryv1.LabelServiceName: dnsService,
				discoveryv1.LabelManagedBy:   "axle-cluster",
			},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{settings.NodeAddress}}},
		Ports: []discoveryv1.EndpointPort{
			{Name: &udpName, Port: &port, Protocol: &udp},
			{Name: &tcpName, Port: &port, Protocol: &tcp},
		},
	}
	slices := client.DiscoveryV1().EndpointSlices(slice.Namespace)
	if _, err := slices.Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create endpoint slice %s: %w", slice.Name, err)
	}
	return nil
}
