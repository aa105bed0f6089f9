package xds

import (
	"context"
	"fmt"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/axlemesh/axle/controllers/control"
	"github.com/axlemesh/axle/controllers/identity"
)

// Metrics of the ADS server. Make them with NewMetrics.
type Metrics struct {
	streams prometheus.Gauge
	acks    *prometheus.CounterVec
	nacks   *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		streams: prometheus.NewGauge(prometheus.GaugeOpts{Name: "axle_xds_streams", Help: "Sidecars that are connected to this replica's ADS."}),
		acks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "axle_xds_acks_total", Help: "Configurations that sidecars took, by type.",
		}, []string{"type"}),
		nacks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "axle_xds_nacks_total", Help: "Configurations that sidecars rejected, by type.",
		}, []string{"type"}),
	}
	r.MustRegister(m.streams, m.acks, m.nacks)
	return m
}

// Server serves a Store over delta ADS. Register it with a gRPC server whose stream interceptor is a control.Authenticator's.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	store   *Store
	pods    client.Reader
	events  events.EventRecorder
	log     logr.Logger
	metrics *Metrics
	delta   delta.Server

	mu      sync.Mutex
	callers map[int64]identity.Sidecar // by stream
}

// NewServer makes a server that ends its streams when ctx ends. pods finds the pod that an event about a rejection is left on.
func NewServer(ctx context.Context, store *Store, pods client.Reader, recorder events.EventRecorder, log logr.Logger, m *Metrics) *Server {
	s := &Server{store: store, pods: pods, events: recorder, log: log, metrics: m, callers: map[int64]identity.Sidecar{}}
	s.delta = delta.NewServer(ctx, &store.mux, callbacks{s})
	return s
}

// DeltaAggregatedResources implements the service. Its state-of-the-world sibling is not served.
func (s *Server) DeltaAggregatedResources(str discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.delta.DeltaStreamHandler(str, resource.AnyType)
}

// callbacks are what the library tells us of its streams.
type callbacks struct{ *Server }

// OnDeltaStreamOpen remembers who is speaking.
func (c callbacks) OnDeltaStreamOpen(ctx context.Context, id int64, _ string) error {
	who, ok := control.Caller(ctx)
	if !ok {
		return status.Error(codes.Unauthenticated, "no credential")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.callers[id] = who.Sidecar
	c.store.acks.open(id, who.Sidecar)
	c.metrics.streams.Inc()
	return nil
}

// OnDeltaStreamClosed forgets it.
func (c callbacks) OnDeltaStreamClosed(id int64, _ *corev3.Node) {
	c.store.acks.close(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.callers[id]; ok {
		delete(c.callers, id)
		c.metrics.streams.Dec()
	}
}

// OnStreamDeltaRequest checks that a sidecar asks for its own pod, and records its ACKs and NACKs.
func (c callbacks) OnStreamDeltaRequest(id int64, req *discoveryv3.DeltaDiscoveryRequest) error {
	c.mu.Lock()
	who := c.callers[id]
	c.mu.Unlock()
	if node := req.GetNode(); node != nil && node.GetId() != who.PodUID {
		return status.Errorf(codes.PermissionDenied, "node %.64q is not the pod of the credential", node.GetId())
	}
	c.store.acks.request(id, req)
	switch {
	case req.GetErrorDetail() != nil:
		c.rejected(who, req)
	case req.GetResponseNonce() != "":
		c.metrics.acks.WithLabelValues(kind(req.GetTypeUrl())).Inc()
	}
	return nil
}

// OnStreamDeltaResponse notes what is sent, so that the answer can be understood.
func (c callbacks) OnStreamDeltaResponse(id int64, _ *discoveryv3.DeltaDiscoveryRequest, resp *discoveryv3.DeltaDiscoveryResponse) {
	c.store.acks.response(id, resp)
}

// rejected records a NACK: the sidecar goes on with what it had, and someone should know.
func (s *Server) rejected(who identity.Sidecar, req *discoveryv3.DeltaDiscoveryRequest) {
	t := kind(req.GetTypeUrl())
	message := fmt.Sprintf("%.600s", req.GetErrorDetail().GetMessage())
	s.metrics.nacks.WithLabelValues(t).Inc()
	s.log.Info("configuration rejected", "namespace", who.Namespace, "pod", who.Pod, "container", who.Container, "type", t, "reason", message)
	pod := &corev1.Pod{}
	if err := s.pods.Get(context.Background(), client.ObjectKey{Namespace: who.Namespace, Name: who.Pod}, pod); err != nil {
		return // the pod has gone, and its event with it
	}
	s.events.Eventf(pod, nil, corev1.EventTypeWarning, "ConfigRejected", "Configure", "%s", fmt.Sprintf("%s rejected a %s and keeps what it had: %s", who.Container, t, message))
}

// kind is the short name of a type, for metrics; what this operator does not send is "other".
func kind(typeURL string) string {
	switch typeURL {
	case resource.ClusterType:
		return "Cluster"
	case resource.EndpointType:
		return "ClusterLoadAssignment"
	case resource.VirtualHostType:
		return "VirtualHost"
	case resource.ListenerType:
		return "Listener"
	}
	return "other"
}
