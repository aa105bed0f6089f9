package xds

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
)

// maxDetail bounds what a rejection says: it travels in one message and ends up in a status.
const maxDetail = 8 << 10

// session is one stream. It does no I/O: it makes the requests and works the responses into the store.
type session struct {
	store    *Store
	answered map[string]bool
}

// open returns the first requests of a stream. The server is told what is held already, so that it sends the rest and
// what was removed meanwhile.
func (s *session) open(node *corev3.Node) []*discoveryv3.DeltaDiscoveryRequest {
	s.answered = make(map[string]bool)
	reqs := make([]*discoveryv3.DeltaDiscoveryRequest, 0, len(Types))
	for _, t := range Types {
		reqs = append(reqs, &discoveryv3.DeltaDiscoveryRequest{
			TypeUrl:                 t,
			ResourceNamesSubscribe:  []string{"*"},
			InitialResourceVersions: s.store.Versions(t),
		})
	}
	reqs[0].Node = node
	return reqs
}

// receive works one response in and returns the answer to it: an ACK, or a NACK that names what was rejected.
func (s *session) receive(r *discoveryv3.DeltaDiscoveryResponse) (answer *discoveryv3.DeltaDiscoveryRequest, changed bool, err error) {
	changed, err = s.store.Update(r.GetTypeUrl(), r.GetResources(), r.GetRemovedResources())
	s.answered[r.GetTypeUrl()] = true
	answer = &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	if err != nil {
		detail := err.Error()
		answer.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: strings.ToValidUTF8(detail[:min(len(detail), maxDetail)], "")}
	}
	return answer, changed, err
}

// complete says whether every type was answered on this stream.
func (s *session) complete() bool {
	for _, t := range Types {
		if !s.answered[t] {
			return false
		}
	}
	return true
}
