package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/axlemesh/axle/sidecar/config"
)

// block is the TLS of a listener or cluster; nil for others, and for plain bytes.
func (r resource) block() *tlsBlock {
	switch v := r.value.(type) {
	case entrance:
		return v.tls
	case cluster:
		return v.tls
	}
	return nil
}

// warm says that everything is here which the resource needs.
func (s *Store) warm(r resource) bool {
	b := r.block()
	return b == nil || len(b.resolve(s.types[TypeSecret]).Waiting) == 0
}

// put takes a good version, at once or, when it waits for secrets and an older one does not, as soon as they are here.
func (s *Store) put(typeURL, name string, r resource) {
	if old, ok := s.types[typeURL][name]; ok && !s.warm(r) && s.warm(old) {
		s.warming[typeURL][name] = r
		return
	}
	delete(s.lent[typeURL], name)
	delete(s.warming[typeURL], name)
	s.types[typeURL][name] = r
}

// needed are the names of the secrets that listeners and clusters name.
func (s *Store) needed() map[string]bool {
	out := make(map[string]bool)
	for _, typeURL := range []string{TypeListener, TypeCluster} {
		for _, held := range []map[string]resource{s.types[typeURL], s.warming[typeURL]} {
			for _, r := range held {
				for _, name := range r.block().secrets() {
					out[name] = true
				}
			}
		}
	}
	return out
}

// settleSecrets lets what was waiting take the place of what was there until now, and forgets secrets that nobody needs. It
// says whether a snapshot would be another one.
func (s *Store) settleSecrets() (changed bool) {
	secrets := s.types[TypeSecret]
	needed := s.needed()
	for name, r := range s.lent[TypeSecret] {
		if _, ok := secrets[name]; needed[name] && !ok {
			secrets[name] = r
			changed = true
		}
	}
	for _, typeURL := range []string{TypeListener, TypeCluster} {
		for name, r := range s.warming[typeURL] {
			if s.warm(r) {
				delete(s.warming[typeURL], name)
				s.types[typeURL][name] = r
				changed = true
			}
		}
	}
	needed = s.needed()
	maps.DeleteFunc(secrets, func(name string, _ resource) bool { return !needed[name] })
	return changed
}

// missing says whether a secret is needed that is not here.
func (s *Store) missing() bool {
	for name := range s.needed() {
		if _, ok := s.types[TypeSecret][name]; !ok {
			return true
		}
	}
	return false
}

// waiting names what is not complete in snap, or not in it for lack of a secret.
func (s *Store) waiting(snap *config.Snapshot) error {
	var errs []error
	say := func(what, name string, t *config.TLS, and string) {
		if t != nil && len(t.Waiting) > 0 {
			errs = append(errs, fmt.Errorf("%s %q waits for %s%s", what, name, strings.Join(t.Waiting, ", "), and))
		}
	}
	for _, l := range snap.Listeners {
		say("listener", l.Name, l.TLS, "")
	}
	for _, name := range slices.Sorted(maps.Keys(snap.Clusters)) {
		say("cluster", name, snap.Clusters[name].TLS, "")
	}
	for _, typeURL := range []string{TypeListener, TypeCluster} {
		for _, name := range slices.Sorted(maps.Keys(s.warming[typeURL])) {
			say(strings.ToLower(short(typeURL)), name, s.warming[typeURL][name].block().resolve(s.types[TypeSecret]), "; its last version stays")
		}
	}
	return errors.Join(errs...)
}
