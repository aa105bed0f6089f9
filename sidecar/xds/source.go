package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/axlemesh/axle/sidecar/config"
)

// Where the labels of this sidecar's pod are: in the metadata of its listeners, under this key and this field of it. Virtual hosts are
// the same for every sidecar; a route that is for some callers says so with matchers of that metadata (dynamic_metadata).
const (
	callerMetadata = "axlemesh.io"
	callerLabels   = "labels"
)

// maxLabels bounds the matchers of one route.
const maxLabels = 16

// labels of a pod.
type labels map[string]string

// entrance is a translated Listener, whose calls it takes, and what it says of the process.
type entrance struct {
	config.Listener
	settings
	caller labels
	tls    *tlsBlock
}

// translateCaller reads the labels in a listener's metadata; nil when there are none.
func translateCaller(m *corev3.Metadata) labels {
	fields := m.GetFilterMetadata()[callerMetadata].GetFields()[callerLabels].GetStructValue().GetFields()
	if len(fields) == 0 {
		return nil
	}
	all := make(labels, len(fields))
	for name, value := range fields {
		all[name] = value.GetStringValue()
	}
	return all
}

// translateSource reads which labels a caller has to have for a route; nil is everybody.
func translateSource(m *routev3.RouteMatch) (labels, error) {
	all := m.GetDynamicMetadata()
	if len(all) == 0 {
		return nil, nil
	}
	if len(all) > maxLabels {
		return nil, fmt.Errorf("dynamic_metadata: send at most %d, not %d", maxLabels, len(all))
	}
	out := labels{}
	for i, one := range all {
		name, value, err := translateLabel(one)
		if _, twice := out[name]; err == nil && twice {
			err = fmt.Errorf("path: label %q is there twice", name)
		}
		if err != nil {
			return nil, fmt.Errorf("dynamic_metadata[%d].%w", i, err)
		}
		out[name] = value
	}
	return out, nil
}

func translateLabel(m *matcherv3.MetadataMatcher) (name, value string, err error) {
	if err := only(m, "filter", "path", "value"); err != nil {
		return "", "", err
	}
	if m.GetFilter() != callerMetadata {
		return "", "", fmt.Errorf("filter: %q is unknown to this version: use %s", m.GetFilter(), callerMetadata)
	}
	path := m.GetPath()
	if len(path) != 2 || path[0].GetKey() != callerLabels || path[1].GetKey() == "" {
		return "", "", fmt.Errorf("path: send %s and the name of a label", callerLabels)
	}
	how, ok := m.GetValue().GetStringMatch().GetMatchPattern().(*matcherv3.StringMatcher_Exact)
	if !ok || m.GetValue().GetStringMatch().GetIgnoreCase() {
		return "", "", errors.New("value: send string_match.exact")
	}
	return path[1].GetKey(), how.Exact, nil
}

// has says whether a pod with those labels is meant by others.
func (l labels) has(others labels) bool {
	for name, want := range others {
		if have, ok := l[name]; !ok || have != want {
			return false
		}
	}
	return true
}

// caller is the pod whose calls this sidecar takes: what its listeners say, the first by name that says anything.
func (s *Store) caller() labels {
	held := s.types[TypeListener]
	for _, name := range slices.Sorted(maps.Keys(held)) {
		if l := held[name].value.(entrance); l.caller != nil {
			return l.caller
		}
	}
	return nil
}

// routesFor are the routes of a host that are for a caller. Those that are for callers with certain labels are for none whose labels
// are not known.
func (h *host) routesFor(caller labels) []config.Route {
	if len(h.sources) == 0 {
		return h.routes
	}
	all := make([]config.Route, 0, len(h.routes))
	for i, r := range h.routes {
		if caller.has(h.sources[i]) {
			all = append(all, r)
		}
	}
	return all
}
