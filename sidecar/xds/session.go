package xds

import (
	"slices"
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
	store      *Store
	answered   map[string]bool
	subscribed map[string]bool // to secrets
}

// open returns the first requests of a stream. The server is told what is held already, so that it sends the rest and
// what was removed meanwhile.
func (s *session) open(node *corev3.Node) []*discoveryv3.DeltaDiscoveryRequest {
	s.answered, s.subscribed = make(map[string]bool), make(map[string]bool)
	reqs := make([]*discoveryv3.DeltaDiscoveryRequest, 0, len(Types))
	for _, t := range Types {
		reqs = append(reqs, &discoveryv3.DeltaDiscoveryRequest{
			TypeUrl:                 t,
			ResourceNamesSubscribe:  []string{"*"},
			InitialResourceVersions: s.store.Versions(t),
		})
	}
	reqs[0].Node = node
	if r := s.secrets(); r != nil {
		r.InitialResourceVersions = s.store.Versions(TypeSecret)
		reqs = append(reqs, r)
	}
	return reqs
}

// secrets asks for those that are needed now and were not before, and ends the subscription to those that nobody needs any
// more; nil when nothing has changed.
func (s *session) secrets() *discoveryv3.DeltaDiscoveryRequest {
	needed := s.store.needed()
	r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: TypeSecret}
	for name := range needed {
		if !s.subscribed[name] {
			r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, name)
		}
	}
	for name := range s.subscribed {
		if !needed[name] {
			r.ResourceNamesUnsubscribe = append(r.ResourceNamesUnsubscribe, name)
		}
	}
	if len(r.GetResourceNamesSubscribe())+len(r.GetResourceNamesUnsubscribe()) == 0 {
		return nil
	}
	slices.Sort(r.ResourceNamesSubscribe)
	slices.Sort(r.ResourceNamesUnsubscribe)
	s.subscribed = needed
	return r
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

// complete says whether every type was answered on this stream, and no secret is missing.
func (s *session) complete() bool {
	for _, t := range Types {
		if !s.answered[t] {
			return false
		}
	}
	return !s.store.missing()
}
