package xds

import (
	"errors"
	"fmt"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/axlemesh/axle/sidecar/accesslog"
)

// stdoutPath is the only file that is logged to: a sidecar's container need not have another that can be written.
const stdoutPath = "/dev/stdout"

// What counts as an error is told by the protocol, not by a filter: an HTTP status from 500 on, what means that in others, and whatever
// has a flag.
const (
	errorStatus = 500
	errorsForm  = "errors are an or_filter of a status_code_filter (GE, 500) and a response_flag_filter without flags"
)

// translateAccessLog reads which requests of a listener are logged; nil leaves that to the bootstrap.
func translateAccessLog(all []*accesslogv3.AccessLog) (*accesslog.Filter, error) {
	if len(all) == 0 {
		return nil, nil
	}
	if len(all) > 1 {
		return nil, fmt.Errorf("access_log: send at most 1, not %d", len(all))
	}
	const at = "access_log[0]"
	log := all[0]
	if err := only(log, "name", "filter", "typed_config"); err != nil {
		return nil, inside(at, err)
	}
	if err := toStdout(log.GetTypedConfig()); err != nil {
		return nil, inside(at+".typed_config", err)
	}
	out := &accesslog.Filter{}
	return out, inside(at+".filter", translateLogFilter(log.GetFilter(), out))
}

// toStdout wants lines to go to standard output, in our own format.
func toStdout(typed *anypb.Any) error {
	file, stream := &filev3.FileAccessLog{}, &streamv3.StdoutAccessLog{}
	switch {
	case typed.MessageIs(file):
		if err := typed.UnmarshalTo(file); err != nil {
			return within("value", err)
		}
		if file.GetPath() != stdoutPath {
			return fmt.Errorf("path: %q is unsupported: use %s", file.GetPath(), stdoutPath)
		}
		return only(file, "path")
	case typed.MessageIs(stream):
		if err := typed.UnmarshalTo(stream); err != nil {
			return within("value", err)
		}
		return only(stream)
	}
	return fmt.Errorf("type_url: %q is unsupported: use FileAccessLog or StdoutAccessLog", typed.GetTypeUrl())
}

// translateLogFilter reads a sample, what is logged of it, or both in an and_filter.
func translateLogFilter(f *accesslogv3.AccessLogFilter, out *accesslog.Filter) error {
	both := f.GetAndFilter()
	if both == nil {
		return translateLogPart(f, out)
	}
	parts := both.GetFilters()
	if len(parts) != 2 || (parts[0].GetRuntimeFilter() == nil) == (parts[1].GetRuntimeFilter() == nil) {
		return errors.New("and_filter: send a runtime_filter and one other")
	}
	for i, part := range parts {
		if err := translateLogPart(part, out); err != nil {
			return inside(fmt.Sprintf("and_filter.filters[%d]", i), err)
		}
	}
	return nil
}

func translateLogPart(f *accesslogv3.AccessLogFilter, out *accesslog.Filter) error {
	switch f.GetFilterSpecifier().(type) {
	case nil:
		return nil
	case *accesslogv3.AccessLogFilter_RuntimeFilter:
		part, err := translateFraction(f.GetRuntimeFilter().GetPercentSampled())
		if err == nil && part.Numerator == 0 {
			err = errors.New("it logs nothing: send no access_log")
		}
		if err != nil {
			return within("runtime_filter.percent_sampled", err)
		}
		out.Sample = accesslog.Share(float64(part.Numerator) / float64(part.Denominator))
		return nil
	case *accesslogv3.AccessLogFilter_DurationFilter:
		return inside("duration_filter", translateSlow(f.GetDurationFilter(), out))
	case *accesslogv3.AccessLogFilter_OrFilter:
		return inside("or_filter", translateReasons(f.GetOrFilter().GetFilters(), out))
	}
	return errors.New("filter_specifier: use runtime_filter, duration_filter, or an or_filter; " + errorsForm)
}

func translateSlow(f *accesslogv3.DurationFilter, out *accesslog.Filter) error {
	c := f.GetComparison()
	ms := c.GetValue().GetDefaultValue()
	if c.GetOp() != accesslogv3.ComparisonFilter_GE || ms == 0 {
		return errors.New("comparison: send op GE and a default_value of milliseconds above 0")
	}
	out.SlowerThan = time.Duration(ms) * time.Millisecond
	return nil
}

// translateReasons reads for which of several reasons a request is logged.
func translateReasons(all []*accesslogv3.AccessLogFilter, out *accesslog.Filter) error {
	var status, flags bool
	for i, f := range all {
		at := fmt.Sprintf("filters[%d]", i)
		switch f.GetFilterSpecifier().(type) {
		case *accesslogv3.AccessLogFilter_DurationFilter:
			if err := translateSlow(f.GetDurationFilter(), out); err != nil {
				return inside(at+".duration_filter", err)
			}
		case *accesslogv3.AccessLogFilter_StatusCodeFilter:
			c := f.GetStatusCodeFilter().GetComparison()
			if c.GetOp() != accesslogv3.ComparisonFilter_GE || c.GetValue().GetDefaultValue() != errorStatus {
				return fmt.Errorf("%s.status_code_filter.comparison: send op GE and the default_value %d", at, errorStatus)
			}
			status = true
		case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
			if len(f.GetResponseFlagFilter().GetFlags()) > 0 {
				return fmt.Errorf("%s.response_flag_filter.flags: single ones are unsupported: send none, for all", at)
			}
			flags = true
		default:
			return fmt.Errorf("%s.filter_specifier: use duration_filter, status_code_filter and response_flag_filter", at)
		}
	}
	if status != flags {
		return errors.New("filters: " + errorsForm)
	}
	out.OnlyErrors = status
	return nil
}
