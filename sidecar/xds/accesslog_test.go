package xds

import (
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/axlemesh/axle/sidecar/accesslog"
)

type logFilter = accesslogv3.AccessLogFilter

func compare(op accesslogv3.ComparisonFilter_Op, n uint32) *accesslogv3.ComparisonFilter {
	return &accesslogv3.ComparisonFilter{Op: op, Value: &corev3.RuntimeUInt32{DefaultValue: n, RuntimeKey: "x"}}
}

func statusFrom(n uint32) *logFilter {
	return &logFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{
		StatusCodeFilter: &accesslogv3.StatusCodeFilter{Comparison: compare(accesslogv3.ComparisonFilter_GE, n)},
	}}
}

func flagged(flags ...string) *logFilter {
	return &logFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: flags}}}
}

func slower(op accesslogv3.ComparisonFilter_Op, ms uint32) *logFilter {
	return &logFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_DurationFilter{
		DurationFilter: &accesslogv3.DurationFilter{Comparison: compare(op, ms)},
	}}
}

func sampled(n uint32, of typev3.FractionalPercent_DenominatorType) *logFilter {
	return &logFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_RuntimeFilter{RuntimeFilter: &accesslogv3.RuntimeFilter{
		RuntimeKey: "x", PercentSampled: &typev3.FractionalPercent{Numerator: n, Denominator: of},
	}}}
}

func anyOf(all ...*logFilter) *logFilter {
	return &logFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_OrFilter{OrFilter: &accesslogv3.OrFilter{Filters: all}}}
}

func allOf(all ...*logFilter) *logFilter {
	return &logFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{AndFilter: &accesslogv3.AndFilter{Filters: all}}}
}

func logs(to proto.Message, filter *logFilter) *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{Name: "x", Filter: filter, ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(to)}}
}

func TestTranslateAccessLog(t *testing.T) {
	const ge, le, hundred = accesslogv3.ComparisonFilter_GE, accesslogv3.ComparisonFilter_LE, typev3.FractionalPercent_HUNDRED
	stdout, stream := &filev3.FileAccessLog{Path: "/dev/stdout"}, &streamv3.StdoutAccessLog{}
	formatted := &filev3.FileAccessLog{Path: "/dev/stdout", AccessLogFormat: &filev3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{}}}
	cases := map[string]struct {
		in   []*accesslogv3.AccessLog
		want *accesslog.Filter
		err  string
	}{
		"none":             {},
		"all":              {in: []*accesslogv3.AccessLog{logs(stdout, nil)}, want: &accesslog.Filter{}},
		"the stream":       {in: []*accesslogv3.AccessLog{logs(stream, nil)}, want: &accesslog.Filter{}},
		"a half":           {in: []*accesslogv3.AccessLog{logs(stdout, sampled(50, hundred))}, want: &accesslog.Filter{Sample: 1 << 31}},
		"one of a million": {in: []*accesslogv3.AccessLog{logs(stdout, sampled(1, typev3.FractionalPercent_MILLION))}, want: &accesslog.Filter{Sample: 4294}},
		"a sample of all":  {in: []*accesslogv3.AccessLog{logs(stdout, sampled(100, hundred))}, want: &accesslog.Filter{}},
		"slow":             {in: []*accesslogv3.AccessLog{logs(stdout, slower(ge, 500))}, want: &accesslog.Filter{SlowerThan: 500 * time.Millisecond}},
		"errors":           {in: []*accesslogv3.AccessLog{logs(stdout, anyOf(statusFrom(500), flagged()))}, want: &accesslog.Filter{OnlyErrors: true}},
		"everything at once": {
			in:   []*accesslogv3.AccessLog{logs(stdout, allOf(sampled(50, hundred), anyOf(statusFrom(500), flagged(), slower(ge, 500))))},
			want: &accesslog.Filter{Sample: 1 << 31, OnlyErrors: true, SlowerThan: 500 * time.Millisecond},
		},
		"two logs":         {in: []*accesslogv3.AccessLog{logs(stdout, nil), logs(stdout, nil)}, err: "access_log: send at most 1, not 2"},
		"another file":     {in: []*accesslogv3.AccessLog{logs(&filev3.FileAccessLog{Path: "/tmp/a"}, nil)}, err: `access_log[0].typed_config.path: "/tmp/a" is unsupported: use /dev/stdout`},
		"another format":   {in: []*accesslogv3.AccessLog{logs(formatted, nil)}, err: "typed_config.log_format: unsupported"},
		"another logger":   {in: []*accesslogv3.AccessLog{logs(&corev3.Node{}, nil)}, err: "use FileAccessLog or StdoutAccessLog"},
		"no logger":        {in: []*accesslogv3.AccessLog{{Name: "x"}}, err: "use FileAccessLog or StdoutAccessLog"},
		"a sample of none": {in: []*accesslogv3.AccessLog{logs(stdout, sampled(0, hundred))}, err: "filter.runtime_filter.percent_sampled: it logs nothing: send no access_log"},
		"what is fast":     {in: []*accesslogv3.AccessLog{logs(stdout, slower(le, 500))}, err: "filter.duration_filter.comparison: send op GE"},
		"other statuses":   {in: []*accesslogv3.AccessLog{logs(stdout, anyOf(statusFrom(400), flagged()))}, err: "or_filter.filters[0].status_code_filter.comparison: send op GE and the default_value 500"},
		"no flags":         {in: []*accesslogv3.AccessLog{logs(stdout, anyOf(statusFrom(500), slower(ge, 1)))}, err: "or_filter.filters: errors are an or_filter of"},
		"one flag":         {in: []*accesslogv3.AccessLog{logs(stdout, anyOf(statusFrom(500), flagged("UF")))}, err: "response_flag_filter.flags: single ones are unsupported"},
		"health checks": {
			in:  []*accesslogv3.AccessLog{logs(stdout, &logFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_NotHealthCheckFilter{}})},
			err: "filter.filter_specifier: use runtime_filter, duration_filter, or an or_filter; errors are",
		},
		"two samples": {in: []*accesslogv3.AccessLog{logs(stdout, allOf(sampled(1, hundred), sampled(1, hundred)))}, err: "and_filter: send a runtime_filter and one other"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			hcm, tcp := routed(), tcpProxy("inbound/12200")
			hcm.AccessLog, tcp.AccessLog = tc.in, tc.in
			for filter, cfg := range map[string]proto.Message{FilterHTTP1: hcm, FilterBolt: tcp} {
				got, err := translateListener(listener("l", "::", 1, corev3.TrafficDirection_INBOUND, filter, cfg))
				said(t, err, tc.err)
				if err != nil {
					continue
				}
				if diff := cmp.Diff(tc.want, got.AccessLog); diff != "" {
					t.Errorf("%s (-want +got):\n%s", filter, diff)
				}
			}
		})
	}
}
