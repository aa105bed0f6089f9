package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// refuse keeps why the newest version of a resource was not taken; nil forgets it.
func (s *Store) refuse(typeURL, name string, why error) {
	if why == nil {
		delete(s.refused[typeURL], name)
		return
	}
	s.refused[typeURL][name] = why
}

// borrow lets a predecessor's version stay where there is no other.
func (s *Store) borrow(typeURL, name string) (changed bool) {
	r, ok := s.lent[typeURL][name]
	if _, held := s.types[typeURL][name]; held || !ok || typeURL == TypeSecret {
		return false
	}
	s.put(typeURL, name, r)
	return true
}

// lend offers what a predecessor had: secrets that the server has not sent yet, and the rest where its own is refused.
func (s *Store) lend(from *Store) (changed bool) {
	s.lent = make(map[string]map[string]resource)
	for _, t := range all {
		s.lent[t] = maps.Clone(from.types[t])
		if t != TypeSecret {
			maps.DeleteFunc(s.lent[t], func(name string, _ resource) bool { _, held := s.types[t][name]; return held })
		}
		for name := range s.refused[t] {
			changed = s.borrow(t, name) || changed
		}
	}
	return s.settleSecrets() || changed
}

// lost names what from has and s refuses, with no earlier version that would stay.
func (s *Store) lost(from *Store) error {
	var errs []error
	for _, t := range Types {
		for _, name := range slices.Sorted(maps.Keys(s.refused[t])) {
			_, stays := s.types[t][name]
			_, was := from.types[t][name]
			if _, also := from.refused[t][name]; !stays && (was || also) {
				errs = append(errs, fmt.Errorf("%s %q: %w", short(t), name, s.refused[t][name]))
			}
		}
	}
	return errors.Join(errs...)
}

// Lost names what a predecessor has and this client refuses: of what its server has sent, else of what the predecessor has itself.
// It is nil when nothing would be lost.
func (c *Client) Lost(from *Store) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.delivered {
		return from.lost(from)
	}
	return c.session.store.lost(from)
}
