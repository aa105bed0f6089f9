package xds

import (
	"cmp"
	"reflect"
	"slices"
	"sync"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"k8s.io/apimachinery/pkg/types"
)

// book keeps what was last reported of every rule, and tells who listens when something about a rule has changed.
type book struct {
	mu        sync.Mutex
	services  map[types.NamespacedName][]Report
	parts     map[part]map[types.NamespacedName]int // rules by what they are in; how many reports say so
	listeners []func(rule types.NamespacedName)
}

func newBook() *book {
	return &book{services: map[types.NamespacedName][]Report{}, parts: map[part]map[types.NamespacedName]int{}}
}

// set puts the reports of one Service in the place of those it had.
func (b *book) set(service types.NamespacedName, reports []Report) {
	b.mu.Lock()
	before := b.services[service]
	if len(reports) == 0 {
		delete(b.services, service)
	} else {
		b.services[service] = reports
	}
	for _, r := range before {
		for _, p := range r.parts() {
			if b.parts[p][r.Rule]--; b.parts[p][r.Rule] == 0 {
				delete(b.parts[p], r.Rule)
			}
			if len(b.parts[p]) == 0 {
				delete(b.parts, p)
			}
		}
	}
	for _, r := range reports {
		for _, p := range r.parts() {
			if b.parts[p] == nil {
				b.parts[p] = map[types.NamespacedName]int{}
			}
			b.parts[p][r.Rule]++
		}
	}
	var touched []types.NamespacedName
	if !reflect.DeepEqual(before, reports) {
		for _, r := range slices.Concat(before, reports) {
			touched = append(touched, r.Rule)
		}
	}
	b.mu.Unlock()
	b.tell(touched)
}

// of are the reports of a rule, by parent.
func (b *book) of(rule types.NamespacedName) []Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Report
	for _, reports := range b.services {
		for _, r := range reports {
			if r.Rule == rule {
				all = append(all, r)
			}
		}
	}
	slices.SortFunc(all, func(a, b Report) int { return cmp.Compare(a.Parent, b.Parent) })
	return all
}

// changed tells the listeners about the rules that are in some resources.
func (b *book) changed(parts []part) {
	b.mu.Lock()
	var touched []types.NamespacedName
	for _, p := range parts {
		for rule := range b.parts[p] {
			touched = append(touched, rule)
		}
	}
	b.mu.Unlock()
	b.tell(touched)
}

func (b *book) tell(rules []types.NamespacedName) {
	if len(rules) == 0 {
		return
	}
	slices.SortFunc(rules, func(a, b types.NamespacedName) int { return cmp.Compare(a.String(), b.String()) })
	b.mu.Lock()
	listeners := slices.Clone(b.listeners)
	b.mu.Unlock()
	for _, rule := range slices.Compact(rules) {
		for _, listen := range listeners {
			listen(rule)
		}
	}
}

func (b *book) listen(to func(types.NamespacedName)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listeners = append(b.listeners, to)
}

// Listen calls to whenever a report of a rule has changed, or what a sidecar holds of its routes. It must return at once.
func (s *Store) Listen(to func(rule types.NamespacedName)) { s.book.listen(to) }

// Reports of a rule, by parent; none until the rule has been seen.
func (s *Store) Reports(rule types.NamespacedName) []Report { return s.book.of(rule) }

// Count the sidecars of this replica that hold a rule's routes and clusters as they are now. Lost are those of the rule's service keys
// that an older Service claims: the rule has no effect on them.
func (s *Store) Count(rule types.NamespacedName) (count Count, lost []string) {
	var mine []part
	s.mu.Lock()
	for service, parts := range s.book.places(rule) {
		for _, p := range parts {
			if owner, _ := s.winner(p.name); p.kind != resource.VirtualHostType || owner == service {
				mine = append(mine, p)
			} else {
				lost = append(lost, p.name)
			}
		}
	}
	s.mu.Unlock()
	slices.SortFunc(mine, func(a, b part) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name)) })
	slices.Sort(lost)
	return s.acks.count(slices.Compact(mine)), slices.Compact(lost)
}

// places are the resources that a rule is in, by Service.
func (b *book) places(rule types.NamespacedName) map[types.NamespacedName][]part {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[types.NamespacedName][]part{}
	for service, reports := range b.services {
		for _, r := range reports {
			if r.Rule == rule {
				all[service] = append(all[service], r.parts()...)
			}
		}
	}
	return all
}
