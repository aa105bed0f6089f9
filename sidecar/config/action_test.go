package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/codec/change"
)

func TestValidateActions(t *testing.T) {
	to := func(r Route) Route { r.Cluster = "c"; return r }
	cases := map[string]struct {
		route Route
		want  []string
	}{
		"all of it": {route: Route{
			Split: []Share{{Cluster: "c", Weight: 1}}, Sticky: "user",
			Retry: &Retry{On: RetryConnect | RetryReset | RetryServerError | RetryGateway, Statuses: []int{429}, PerTry: 1, Backoff: 1, MaxBackoff: 2},
			Fault: &Fault{Delayed: Fraction{1, 2}, Delay: time.Second, Aborted: Fraction{1, 1}, Status: 503},
			Limit: Limit{Burst: 1, Tokens: 1, Every: 1},
			Edit:  &Edit{Request: []change.Field{{Name: "X-A", Value: "b\tc"}}, Host: "[::1]:80", Prefix: "/a", With: "/b"},
		}},
		"a retry": {to(Route{Retry: &Retry{
			Statuses: []int{99}, On: 1 << 7, PerTry: -1, Backoff: 2, MaxBackoff: 1, BudgetPercent: 101,
		}}), []string{
			"retry: unknown reasons 0x80", "retry: status 99 is not between 200 and 599", "retry: the timeout of a try -1ns is negative",
			"retry: the backoff's maximum 1ns is below its first 2ns", "retry: a budget of 101 percent is more than all",
		}},
		"a hedge": {to(Route{Retry: &Retry{On: RetryReset, PerTry: 1, Hedge: true}}), nil},
		"a hedge of nothing slow": {to(Route{Attempts: 1, Retry: &Retry{On: RetryConnect, Hedge: true}}), []string{
			"retry: hedging needs the time after which a try is slow: set the timeout of a try",
			"retry: hedging needs slow tries to be retried: add resets, gateway errors, errors of the server or the status 504 to the reasons",
			"retry: hedging needs a second attempt",
		}},
		"a retry of nothing":  {to(Route{Retry: &Retry{}}), []string{"retry: it has nothing to retry on"}},
		"a retry of a status": {Route{Status: 503, Retry: &Retry{On: RetryReset}}, []string{"retry: there is no cluster to try"}},
		"a fault": {to(Route{Fault: &Fault{Delay: -1, Aborted: Fraction{2, 1}, Status: 99}}), []string{
			"fault: delay -1ns is not between 0 and 1h0m0s", "fault: abort: 2 in 1 is no fraction up to 1", "fault: abort: status 99 is not between 200 and 599",
		}},
		"a limit":            {to(Route{Limit: Limit{Burst: 1, Tokens: 5, Every: 1}}), []string{"limit: 5 tokens in each 1ns are more than one in a nanosecond"}},
		"sticky to what":     {to(Route{Sticky: "user"}), []string{"sticky: there is no split to stick to a part of"}},
		"an edit of nothing": {to(Route{Edit: &Edit{}}), []string{"edit: it changes nothing"}},
		"an edit": {to(Route{Edit: &Edit{
			Request:  []change.Field{{Op: 9, Name: "a"}, {Name: "a b", Value: "c"}, {Name: "Connection", Value: "close"}, {Name: "a", Value: " b"}},
			Response: []change.Field{{Op: change.Remove, Name: "a", Value: "b"}}, Host: "a b", Prefix: "a", With: "/b?c",
		}}), []string{
			"edit: request 0: unknown operation 9", `edit: request 1: "a b" is no header's name of up to 128 bytes`,
			`edit: request 2: header "Connection" belongs to the connection or frames the message: it cannot be changed`,
			`edit: request 3: header "a": the value is longer than 4096 bytes, has control characters or spaces around it`,
			`edit: response 0: header "a" is removed and has a value`, `edit: host "a b" is no host`,
			`edit: prefix "a" has to begin with / and needs something to be replaced with`, `edit: path "/b?c" has to begin with / and have no query`,
		}},
		"a redirect": {Route{Redirect: &Redirect{Scheme: "ftp", Host: "a:1", Status: 200}}, []string{
			"redirect: status 200 is none of 301, 302, 303, 307 and 308", `redirect: scheme "ftp" is neither http nor https`,
			`redirect: host "a:1" is no host without a port`,
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := Snapshot{
				Hosts:    map[string]*Host{"h": {Name: "h", Routes: []Route{tc.route}}},
				Clusters: map[string]*Cluster{"c": {Name: "c", Connections: 1}},
			}
			var got []string
			if err := s.Validate(); err != nil {
				for line := range strings.SplitSeq(err.Error(), "\n") {
					got = append(got, strings.TrimPrefix(line, `host "h": route 0: `))
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRetryWants(t *testing.T) {
	cases := map[string]struct {
		retry       Retry
		statuses    []int // of 200, 404, 429, 500, 502, 504, 599
		reset, slow bool
	}{
		"nothing":      {Retry{}, nil, false, false},
		"resets":       {Retry{On: RetryReset}, nil, true, true},
		"the server's": {Retry{On: RetryServerError}, []int{500, 502, 504, 599}, true, true},
		"a gateway's":  {Retry{On: RetryGateway}, []int{502, 504}, false, true},
		"what it says": {Retry{Statuses: []int{404}}, []int{404}, false, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []int
			for _, status := range []int{200, 404, 429, 500, 502, 504, 599} {
				if tc.retry.Wants(status) {
					got = append(got, status)
				}
			}
			if diff := cmp.Diff(tc.statuses, got); diff != "" || tc.retry.WantsReset() != tc.reset || tc.retry.WantsSlow() != tc.slow {
				t.Errorf("wants resets %t, slow ones %t, statuses (-want +got):\n%s", tc.retry.WantsReset(), tc.retry.WantsSlow(), diff)
			}
		})
	}
}
