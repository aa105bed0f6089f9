package xds

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/static"
)

// What concerns the whole process, and listeners of protocols for which Envoy has no field, is in the metadata of listeners: under
// these keys the section of that name of a bootstrap, with its field names.
const (
	tracingMetadata  = "axlemesh.io/tracing"
	overloadMetadata = "axlemesh.io/overload"
)

// settings of the process that a listener says. Those of the first by name that says them are in force.
type settings struct {
	tracing  *bootstrap.Tracing
	overload *bootstrap.Overload
}

// translateSettings reads them from a listener's metadata. What its filter has said of tracing stays.
func translateSettings(m *corev3.Metadata, out *entrance) error {
	t, err := section[bootstrap.Tracing](m, tracingMetadata)
	if err == nil {
		err = within(field(tracingMetadata), static.CheckTracing(t))
	}
	if err != nil {
		return err
	}
	if t != nil && out.tracing == nil {
		out.tracing = t
		if out.SamplePercent == nil {
			out.SamplePercent = &t.SamplePercent
		}
	}
	if out.overload, err = section[bootstrap.Overload](m, overloadMetadata); err != nil {
		return err
	}
	_, _, err = static.Overload(&bootstrap.Bootstrap{Overload: out.overload})
	return within(field(overloadMetadata), err)
}

// section reads one section of a bootstrap; nil when it is not there. It ignores fields that it does not know, as ParseEnv does: the
// operator may be newer than this sidecar, and a listener is not to be lost for that.
func section[T any](m *corev3.Metadata, key string) (*T, error) {
	raw := m.GetFilterMetadata()[key]
	if raw == nil {
		return nil, nil
	}
	data, err := raw.MarshalJSON()
	if err != nil {
		return nil, within(field(key), err)
	}
	out := new(T)
	return out, within(field(key), json.Unmarshal(data, out))
}

func field(key string) string { return "metadata.filter_metadata[" + key + "]" }

// addSettings puts into a snapshot what its listeners say of the process. Those that say something else are named in the error: they
// do not have their way.
func (s *Store) addSettings(snap *config.Snapshot) error {
	var errs []error
	held := s.types[TypeListener]
	first := make(map[string]string) // by what it says
	for _, name := range slices.Sorted(maps.Keys(held)) {
		l := held[name].value.(entrance)
		differs := func(what string) {
			errs = append(errs, fmt.Errorf("listener %q: its %s is not in force: listener %q says something else, and comes first", name, what, first[what]))
		}
		switch t := l.tracing; {
		case t == nil:
		case snap.Tracing == nil:
			snap.Tracing, first["tracing"] = t, name
		case t.Endpoint != snap.Tracing.Endpoint || t.ServiceName != snap.Tracing.ServiceName:
			differs("tracing")
		}
		switch o := l.overload; {
		case o == nil:
		case snap.Overload == nil:
			snap.Overload, first["overload"] = o, name
		case !reflect.DeepEqual(o, snap.Overload):
			differs("overload")
		}
	}
	return errors.Join(errs...)
}
