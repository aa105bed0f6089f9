package xds

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/axlemesh/axle/sidecar/config"
)

// Type URLs of the resources that this client subscribes to.
const (
	TypeCluster  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	TypeEndpoint = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	TypeListener = "type.googleapis.com/envoy.config.listener.v3.Listener"
	TypeHost     = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
	TypeSecret   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// Types in the order in which they are asked for, all of each: what is referred to comes first. Secrets are asked for by name.
var Types = []string{TypeCluster, TypeEndpoint, TypeListener, TypeHost}

var all = append(slices.Clone(Types), TypeSecret)

// resource is the last good version of one resource: as it came, and translated.
type resource struct {
	raw   *discoveryv3.Resource
	value any // entrance, cluster, endpoints, host or secret
}

// Store holds the last good version of every resource. It does no I/O, and is not safe for concurrent use.
type Store struct {
	types map[string]map[string]resource
	built int
	// warming are newer versions of listeners and clusters that wait for secrets; the last ones that had theirs stay meanwhile.
	warming map[string]map[string]resource
	// lent is what a predecessor had and the server has not sent, by type and name: secrets that are needed, and what stays where the
	// server's own is refused.
	lent map[string]map[string]resource
	// refused says why the newest version of a resource was not taken, by type and name.
	refused map[string]map[string]error
}

// NewStore returns an empty store.
func NewStore() *Store {
	s := &Store{
		types: make(map[string]map[string]resource), warming: make(map[string]map[string]resource), refused: make(map[string]map[string]error),
	}
	for _, t := range all {
		s.types[t], s.warming[t], s.refused[t] = make(map[string]resource), make(map[string]resource), make(map[string]error)
	}
	return s
}

// Update takes the resources of one response. A bad resource is left as it was, and the error says for each what to
// change; the others are taken all the same. Changed says whether anything was taken or removed.
func (s *Store) Update(typeURL string, resources []*discoveryv3.Resource, removed []string) (changed bool, err error) {
	held, ok := s.types[typeURL]
	if !ok {
		return false, fmt.Errorf("type %q was not asked for", typeURL)
	}
	var errs []error
	needed := s.needed()
	for i, r := range resources {
		if typeURL == TypeSecret && !needed[r.GetName()] {
			continue // it crossed with the end of its subscription
		}
		value, err := translate(typeURL, r)
		s.refuse(typeURL, r.GetName(), err)
		if err != nil {
			name := r.GetName()
			if name == "" {
				name = fmt.Sprintf("#%d", i)
			}
			errs = append(errs, fmt.Errorf("%s %q: %w", short(typeURL), name, err))
			changed = s.borrow(typeURL, r.GetName()) || changed
			continue
		}
		s.put(typeURL, r.GetName(), resource{raw: r, value: value})
		changed = true
	}
	for _, name := range removed {
		if typeURL == TypeSecret && needed[name] {
			continue // who takes a certificate away has to take away what it is for
		}
		delete(s.warming[typeURL], name)
		delete(s.lent[typeURL], name)
		s.refuse(typeURL, name, nil)
		if _, ok := held[name]; ok {
			delete(held, name)
			changed = true
		}
	}
	return s.settleSecrets() || changed, errors.Join(errs...)
}

// Versions returns what is held of one type, for a server that has to send only the rest.
func (s *Store) Versions(typeURL string) map[string]string {
	out := make(map[string]string, len(s.types[typeURL]))
	for name, r := range s.types[typeURL] {
		out[name] = r.raw.GetVersion()
	}
	return out
}

func translate(typeURL string, r *discoveryv3.Resource) (any, error) {
	if got := r.GetResource().GetTypeUrl(); r.GetResource() != nil && got != typeURL { // which is how an export is read
		return nil, fmt.Errorf("it is a %q", got)
	}
	switch typeURL {
	case TypeListener:
		return decode(r, &listenerv3.Listener{}, (*listenerv3.Listener).GetName, translateListener)
	case TypeCluster:
		return decode(r, &clusterv3.Cluster{}, (*clusterv3.Cluster).GetName, translateCluster)
	case TypeEndpoint:
		return decode(r, &endpointv3.ClusterLoadAssignment{}, (*endpointv3.ClusterLoadAssignment).GetClusterName, translateEndpoints)
	case TypeSecret:
		return decode(r, &tlsv3.Secret{}, (*tlsv3.Secret).GetName, translateSecret)
	default:
		return decode(r, &routev3.VirtualHost{}, (*routev3.VirtualHost).GetName, translateHost)
	}
}

func decode[M proto.Message, V any](r *discoveryv3.Resource, m M, name func(M) string, to func(M) (V, error)) (any, error) {
	if r.GetResource() == nil {
		return nil, errors.New("the resource is missing")
	}
	if err := r.GetResource().UnmarshalTo(m); err != nil {
		return nil, err
	}
	if name(m) == "" || name(m) != r.GetName() {
		return nil, fmt.Errorf("it is named %q inside: both names have to be the same", name(m))
	}
	v, err := to(m)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Snapshot puts the resources together. What one refers to and was not sent is filled in: inbound/<port> is the
// application on that port, any other cluster has no endpoints yet. A listener that cannot be is left out and named in
// the error, as is what waits for secrets; the snapshot is valid all the same.
func (s *Store) Snapshot() (*config.Snapshot, error) {
	s.built++
	snap := &config.Snapshot{
		Version:  fmt.Sprintf("xds-%d", s.built),
		Hosts:    make(map[string]*config.Host),
		Clusters: make(map[string]*config.Cluster),
	}
	for name, r := range s.types[TypeCluster] {
		c := r.value.(cluster)
		out := c.Cluster
		if c.eds != "" {
			all, _ := s.types[TypeEndpoint][c.eds].value.(endpoints)
			out.Endpoints, out.Traits = all.addrs, all.traits
		}
		out.TLS = c.tls.resolve(s.types[TypeSecret])
		snap.Clusters[name] = &out
	}
	s.addHosts(snap)
	err := errors.Join(s.addListeners(snap), s.addSettings(snap))
	return snap, errors.Join(err, s.waiting(snap))
}

// addHosts gives each domain to the host of that name, else to the first by name that claims it.
func (s *Store) addHosts(snap *config.Snapshot) {
	caller := s.caller()
	for _, name := range slices.Sorted(maps.Keys(s.types[TypeHost])) {
		h := s.types[TypeHost][name].value.(host)
		routes := h.routesFor(caller)
		if len(routes) == 0 {
			continue // it has none for this caller
		}
		for i := range routes {
			needRoute(snap, &routes[i])
		}
		for _, d := range h.domains {
			if snap.Hosts[d] == nil || d == name {
				snap.Hosts[d] = &config.Host{Name: d, Routes: routes}
			}
		}
	}
}

func (s *Store) addListeners(snap *config.Snapshot) error {
	var errs []error
	taken := make(map[netip.AddrPort]string)
	for _, name := range slices.Sorted(maps.Keys(s.types[TypeListener])) {
		d := s.types[TypeListener][name].value.(entrance)
		l := d.Listener
		l.TLS = d.tls.resolve(s.types[TypeSecret])
		if other, ok := taken[l.Address]; ok && l.Address.Port() != 0 {
			errs = append(errs, fmt.Errorf("listener %q is left out: listener %q has its address %s", name, other, l.Address))
			continue
		}
		taken[l.Address] = name
		if l.Cluster != "" {
			need(snap, l.Cluster)
		}
		snap.Listeners = append(snap.Listeners, l)
	}
	return errors.Join(errs...)
}

func needRoute(snap *config.Snapshot, r *config.Route) {
	if r.Cluster != "" {
		need(snap, r.Cluster)
	}
	for _, s := range r.Split {
		need(snap, s.Cluster)
	}
	if r.Mirror != nil {
		need(snap, r.Mirror.Cluster)
	}
}

// need makes sure that there is a cluster of that name.
func need(snap *config.Snapshot, name string) {
	if snap.Clusters[name] != nil {
		return
	}
	c, ok := derived(name)
	if !ok {
		c = &config.Cluster{Name: name, Connections: 1}
	}
	snap.Clusters[name] = c
}

// short is the type's name for people.
func short(typeURL string) string {
	switch typeURL {
	case TypeCluster:
		return "Cluster"
	case TypeEndpoint:
		return "ClusterLoadAssignment"
	case TypeListener:
		return "Listener"
	case TypeHost:
		return "VirtualHost"
	case TypeSecret:
		return "Secret"
	}
	return typeURL
}
