package xds

import (
	"cmp"
	"encoding/json"
	"fmt"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	"google.golang.org/protobuf/types/known/structpb"
	corev1 "k8s.io/api/core/v1"

	"github.com/axlemesh/axle/api/bootstrap"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// Settings are what a fleet wants of the sidecars of one pod beside traffic. The zero value leaves everything as it is by default.
//
// Requests are logged by Envoy's own field of a listener's filter. Where spans go, and what an overload is, have none that every protocol has: they
// are in the metadata of listeners, as the sections of a sidecar's bootstrap, with its field names. Sidecars of earlier releases look at
// neither, but reject a provider of spans in a HttpConnectionManager.
type Settings struct {
	AccessLog *axlev1.AccessLog
	Tracing   *axlev1.Tracing
	Overload  *axlev1.Overload
	// Service is what spans are shown under where Tracing does not say.
	Service string
}

// SettingsOf a pod whose fleet that is; nil for a fleet that is gone.
func SettingsOf(fleet *axlev1.SidecarFleet, pod *corev1.Pod) Settings {
	if fleet == nil {
		return Settings{}
	}
	_, workload := sidecars.Workload(pod)
	return Settings{
		AccessLog: fleet.Spec.Telemetry.AccessLog, Tracing: fleet.Spec.Telemetry.Tracing, Overload: fleet.Spec.Overload,
		Service: cmp.Or(pod.Labels["app.kubernetes.io/name"], pod.Labels["app"], workload),
	}
}

// million is what an API's parts are of.
const million = 1_000_000

// Keys of the metadata.
const (
	tracingKey  = axlev1.GroupName + "/tracing"
	overloadKey = axlev1.GroupName + "/overload"
)

// sections are what is in the metadata of each listener.
func (s Settings) sections() (map[string]*structpb.Struct, error) {
	all := map[string]*structpb.Struct{}
	add := func(key string, section any) error {
		raw, err := json.Marshal(section)
		if err != nil {
			return fmt.Errorf("settings %q: %w", key, err)
		}
		all[key] = &structpb.Struct{}
		if err := all[key].UnmarshalJSON(raw); err != nil {
			return fmt.Errorf("settings %q: %w", key, err)
		}
		return nil
	}
	if t := s.Tracing; t != nil {
		err := add(tracingKey, bootstrap.Tracing{
			Endpoint: t.Endpoint, ServiceName: cmp.Or(t.ServiceName, s.Service), SamplePercent: float64(t.Parts()) / (million / 100),
		})
		if err != nil {
			return nil, err
		}
	}
	if s.Overload != nil {
		if err := add(overloadKey, s.Overload); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Where lines go, and the name of what could change a filter at run time, which Envoy wants and nobody asks for.
const (
	stdout     = "/dev/stdout"
	runtimeKey = axlev1.GroupName + "/access-log"
)

// errorStatus and above is an error of HTTP. What counts as an error is told by the protocol of each request, and by the flags.
const errorStatus = 500

type logFilter = accesslogv3.AccessLogFilter

// accessLog is what a listener logs; none when it logs nothing.
func (s Settings) accessLog() []*accesslogv3.AccessLog {
	l := s.AccessLog
	if l == nil || !l.Enabled {
		return nil
	}
	log := &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.file", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: packed(&filev3.FileAccessLog{Path: stdout})},
	}
	var parts []*logFilter
	if n := l.Parts(); n < million {
		parts = append(parts, &logFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_RuntimeFilter{RuntimeFilter: &accesslogv3.RuntimeFilter{
			RuntimeKey: runtimeKey, PercentSampled: fraction(uint32(n)), UseIndependentRandomness: true, //nolint:gosec // 0 to a million
		}}})
	}
	switch all := reasons(l); len(all) {
	case 0:
	case 1:
		parts = append(parts, all[0])
	default:
		parts = append(parts, &logFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_OrFilter{OrFilter: &accesslogv3.OrFilter{Filters: all}}})
	}
	switch len(parts) {
	case 0:
	case 1:
		log.Filter = parts[0]
	default:
		log.Filter = &logFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{AndFilter: &accesslogv3.AndFilter{Filters: parts}}}
	}
	return []*accesslogv3.AccessLog{log}
}

// reasons for which a request is logged; none logs every one.
func reasons(l *axlev1.AccessLog) (all []*logFilter) {
	if l.OnlyErrors {
		all = append(all,
			&logFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{StatusCodeFilter: &accesslogv3.StatusCodeFilter{Comparison: atLeast(errorStatus)}}},
			&logFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{}}})
	}
	if l.SlowerThan != nil {
		ms := uint32(l.SlowerThan.Milliseconds()) //nolint:gosec // at most an hour
		all = append(all, &logFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_DurationFilter{DurationFilter: &accesslogv3.DurationFilter{Comparison: atLeast(ms)}}})
	}
	return all
}

func atLeast(n uint32) *accesslogv3.ComparisonFilter {
	return &accesslogv3.ComparisonFilter{
		Op: accesslogv3.ComparisonFilter_GE, Value: &corev3.RuntimeUInt32{DefaultValue: n, RuntimeKey: runtimeKey},
	}
}
