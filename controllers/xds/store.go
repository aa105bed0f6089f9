package xds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	cachetypes "github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	cplog "github.com/envoyproxy/go-control-plane/pkg/log"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/go-logr/logr"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"
)

// Store holds the resources that sidecars subscribe to. Make it with NewStore.
type Store struct {
	clusters, endpoints, hosts *cache.LinearCache
	listeners                  cache.SnapshotCache
	mux                        cache.MuxCache

	mu       sync.Mutex
	services map[types.NamespacedName]held
	claims   map[string]map[types.NamespacedName]claim // by service key
	pods     map[types.NamespacedName]types.UID
	version  uint64

	acks *acks
	book *book
}

// held are the resources of one Service as they were last set, by name.
type held struct {
	clusters, endpoints map[string]cachetypes.Resource
	keys                []string
	ruled               []string // clusters with a rule's upstream in them
}

// claim is one Service's wish to be a service key. The oldest Service has it.
type claim struct {
	since time.Time
	host  *routev3.VirtualHost
	ruled bool // TrafficRules have routes in it
}

// byID keys the snapshots: a sidecar's node id is its pod's UID.
type byID struct{}

// ID implements the cache's NodeHash.
func (byID) ID(node *corev3.Node) string { return node.GetId() }

// NewStore makes an empty store.
func NewStore(log logr.Logger) *Store {
	l := logger(log)
	s := &Store{
		clusters:  cache.NewLinearCache(resource.ClusterType, cache.WithLogger(l)),
		endpoints: cache.NewLinearCache(resource.EndpointType, cache.WithLogger(l)),
		hosts:     cache.NewLinearCache(resource.VirtualHostType, cache.WithLogger(l)),
		listeners: cache.NewSnapshotCache(false, byID{}, l),
		services:  map[types.NamespacedName]held{},
		claims:    map[string]map[types.NamespacedName]claim{},
		pods:      map[types.NamespacedName]types.UID{},
		book:      newBook(),
	}
	s.acks = newAcks(s.book.changed)
	s.mux = cache.MuxCache{
		Classify:      func(*cache.Request) string { return "" }, // only delta is served
		ClassifyDelta: classify,
		Caches: map[string]cache.Cache{
			resource.ClusterType:     s.clusters,
			resource.EndpointType:    s.endpoints,
			resource.VirtualHostType: s.hosts,
			resource.ListenerType:    s.listeners,
			"":                       silent{},
		},
	}
	return s
}

// classify picks the cache of a type. A type that this operator does not know is one that a newer sidecar asks for.
func classify(r *cache.DeltaRequest) string {
	switch t := r.GetTypeUrl(); t {
	case resource.ClusterType, resource.EndpointType, resource.VirtualHostType, resource.ListenerType:
		return t
	}
	return ""
}

// SetService puts a Service's resources in the place of those it had; zero resources take it away. Only what differs is sent. since is
// when the Service was made: of several that claim one service key the oldest has it.
func (s *Store) SetService(name types.NamespacedName, since time.Time, r Resources) error {
	parts, err := s.setService(name, since, r)
	s.book.set(name, r.Reports) // without the lock: those who listen may ask the store at once
	s.book.changed(parts)
	if err != nil {
		return fmt.Errorf("configuration of service %s: %w", name, err)
	}
	return nil
}

// setService returns what rules are in and is another now.
func (s *Store) setService(name types.NamespacedName, since time.Time, r Resources) ([]part, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.services[name]
	now := held{clusters: map[string]cachetypes.Resource{}, endpoints: map[string]cachetypes.Resource{}}
	for _, c := range r.Clusters {
		now.clusters[c.GetName()] = c
	}
	for _, a := range r.Assignments {
		now.endpoints[a.GetClusterName()] = a
	}
	for _, h := range r.Hosts {
		now.keys = append(now.keys, h.GetName())
	}
	for _, report := range r.Reports {
		now.ruled = append(now.ruled, report.Clusters...)
	}
	parts, err := s.expectClusters(before, now)
	if err != nil {
		return nil, err
	}
	if len(r.Clusters) == 0 {
		delete(s.services, name)
	} else {
		s.services[name] = now
	}
	// Nothing may point to what is not there yet: endpoints, clusters, hosts on the way in, and the other way round on the way out.
	errs := []error{
		update(s.endpoints, before.endpoints, now.endpoints),
		update(s.clusters, before.clusters, now.clusters),
	}
	hosts, err := s.setHosts(name, since, before.keys, r)
	for _, key := range hosts {
		parts = append(parts, part{resource.VirtualHostType, key})
	}
	errs = append(errs, err,
		remove(s.clusters, before.clusters, now.clusters),
		remove(s.endpoints, before.endpoints, now.endpoints),
	)
	return parts, errors.Join(errs...)
}

// expectClusters says which versions of the clusters with upstreams sidecars are to acknowledge, before they are sent.
func (s *Store) expectClusters(before, now held) ([]part, error) {
	var parts []part
	for _, name := range before.ruled {
		if p := (part{resource.ClusterType, name}); !slices.Contains(now.ruled, name) {
			s.acks.want(p, "")
			parts = append(parts, p)
		}
	}
	for _, name := range now.ruled {
		p := part{resource.ClusterType, name}
		version, err := versionOf(now.clusters[name])
		if err != nil {
			return nil, fmt.Errorf("version of cluster %q: %w", name, err)
		}
		s.acks.want(p, version)
		parts = append(parts, p)
	}
	return parts, nil
}

func update(c *cache.LinearCache, before, now map[string]cachetypes.Resource) error {
	changed := map[string]cachetypes.Resource{}
	for name, r := range now {
		if old, ok := before[name]; !ok || !proto.Equal(old, r) {
			changed[name] = r
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return c.UpdateResources(changed, nil)
}

func remove(c *cache.LinearCache, before, now map[string]cachetypes.Resource) error {
	var gone []string
	for name := range before {
		if _, ok := now[name]; !ok {
			gone = append(gone, name)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return c.UpdateResources(nil, gone)
}

func (s *Store) setHosts(name types.NamespacedName, since time.Time, before []string, r Resources) ([]string, error) {
	ruled := map[string]bool{}
	for _, report := range r.Reports {
		for _, key := range report.Keys {
			ruled[key] = true
		}
	}
	touched := slices.Clone(before)
	old := map[string]*routev3.VirtualHost{}
	for _, key := range before {
		old[key] = s.host(key)
		delete(s.claims[key], name)
	}
	for _, h := range r.Hosts {
		key := h.GetName()
		if _, seen := old[key]; !seen {
			old[key] = s.host(key)
			touched = append(touched, key)
		}
		if s.claims[key] == nil {
			s.claims[key] = map[types.NamespacedName]claim{}
		}
		s.claims[key][name] = claim{since: since, host: h, ruled: ruled[key]}
	}
	changed, gone := map[string]cachetypes.Resource{}, []string{}
	for _, key := range touched {
		if err := s.expect(key); err != nil {
			return nil, err
		}
		switch now := s.host(key); {
		case now == nil:
			delete(s.claims, key)
			gone = append(gone, key)
		case old[key] == nil || !proto.Equal(old[key], now):
			changed[key] = now
		}
	}
	if len(changed)+len(gone) == 0 {
		return nil, nil
	}
	return slices.Concat(slices.Collect(maps.Keys(changed)), gone), s.hosts.UpdateResources(changed, gone)
}

// expect says which version of a service key sidecars are to acknowledge, before it is sent.
func (s *Store) expect(key string) error {
	version := ""
	if _, c := s.winner(key); c != nil && c.ruled {
		var err error
		if version, err = versionOf(c.host); err != nil {
			return fmt.Errorf("version of service key %q: %w", key, err)
		}
	}
	s.acks.want(part{resource.VirtualHostType, key}, version)
	return nil
}

// winner is the Service that has a service key: the oldest that claims it, then the first by name.
func (s *Store) winner(key string) (types.NamespacedName, *claim) {
	var first types.NamespacedName
	var best *claim
	for name, c := range s.claims[key] {
		if best == nil || cmp.Or(c.since.Compare(best.since), cmp.Compare(name.String(), first.String())) < 0 {
			first, best = name, &c
		}
	}
	return first, best
}

// host is the virtual host of a service key, or nil.
func (s *Store) host(key string) *routev3.VirtualHost {
	if _, c := s.winner(key); c != nil {
		return c.host
	}
	return nil
}

// SetPod puts a pod's listeners in the place of those it had.
func (s *Store) SetPod(ctx context.Context, name types.NamespacedName, uid types.UID, all []*listenerv3.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.pods[name]; ok && old != uid {
		s.listeners.ClearSnapshot(string(old))
	}
	s.pods[name] = uid
	resources := make([]cachetypes.Resource, 0, len(all))
	for _, l := range all {
		resources = append(resources, l)
	}
	s.version++
	snapshot, err := cache.NewSnapshot(fmt.Sprint(s.version), map[resource.Type][]cachetypes.Resource{resource.ListenerType: resources})
	if err == nil {
		err = s.listeners.SetSnapshot(ctx, string(uid), snapshot)
	}
	if err != nil {
		return fmt.Errorf("listeners of pod %s: %w", name, err)
	}
	return nil
}

// DeletePod forgets a pod.
func (s *Store) DeletePod(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if uid, ok := s.pods[name]; ok {
		delete(s.pods, name)
		s.listeners.ClearSnapshot(string(uid))
	}
}

// knows says whether the pod has listeners here.
func (s *Store) knows(name types.NamespacedName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.pods[name]
	return ok
}

// silent is the cache of types that nobody fills: a subscription to one waits for ever and disturbs no other.
type silent struct{}

func (silent) CreateWatch(*cache.Request, cache.Subscription, chan cache.Response) (func(), error) {
	return nil, errors.New("only delta ADS is served")
}

func (silent) CreateDeltaWatch(*cache.DeltaRequest, cache.Subscription, chan cache.DeltaResponse) (func(), error) {
	return nil, nil
}

func (silent) Fetch(context.Context, *cache.Request) (cache.Response, error) {
	return nil, errors.New("only delta ADS is served")
}

// logger lets the library's warnings and errors through; the rest is one line for each watch of each sidecar.
func logger(log logr.Logger) cplog.Logger {
	return cplog.LoggerFuncs{
		WarnFunc:  func(format string, args ...any) { log.Info(fmt.Sprintf(format, args...)) },
		ErrorFunc: func(format string, args ...any) { log.Error(nil, fmt.Sprintf(format, args...)) },
	}
}
