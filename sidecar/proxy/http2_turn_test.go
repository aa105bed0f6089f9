package proxy_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

func TestHTTP2RouteActions(t *testing.T) {
	to, _ := shop2(t)
	all := config.Fraction{Numerator: 1, Denominator: 1}
	name := proxy.SeriesName{Direction: config.Outbound, Protocol: proxy.SpokenHTTP2, RouteName: proxy.RouteName{Host: "shop.demo", Route: "r"}}
	cases := map[string]struct {
		route    config.Route
		statuses []int
		least    time.Duration
		flag     proxy.Flag
		want     uint64
	}{
		"counted":     {config.Route{}, []int{200, 200}, 0, 0, 2},
		"aborted":     {config.Route{Fault: &config.Fault{Aborted: all, Status: 418}}, []int{418}, 0, proxy.FlagOf(proxy.FailFault), 1},
		"delayed":     {config.Route{Fault: &config.Fault{Delayed: all, Delay: 50 * time.Millisecond}}, []int{200}, 50 * time.Millisecond, 0, 1},
		"limited":     {config.Route{Limit: config.Limit{Burst: 1, Tokens: 1, Every: time.Hour}}, []int{200, 429, 429}, 0, proxy.FlagOf(proxy.FailLimit), 2},
		"edited":      {config.Route{Edit: &config.Edit{Host: "h"}}, []int{200}, 0, 0, 1},
		"with a plan": {config.Route{Retry: &config.Retry{On: config.RetryReset}}, []int{200}, 0, 0, 1},
		"delayed, then aborted": {
			config.Route{Fault: &config.Fault{Delayed: all, Delay: 50 * time.Millisecond, Aborted: all, Status: 500}}, []int{500}, 50 * time.Millisecond, proxy.FlagOf(proxy.FailFault), 1,
		},
	}
	for title, tc := range cases {
		t.Run(title, func(t *testing.T) {
			addr := freePort(t)
			s := http2Snapshot(addr, to)
			tc.route.Name, tc.route.Cluster = "r", "shop"
			s.Hosts["shop.demo"].Routes = []config.Route{tc.route}
			e := started(t, 1, s)
			c := web2(t, addr)
			began := time.Now()
			for _, status := range tc.statuses {
				if got, err := ask2(c, "GET", "/echo", nil); err != nil || got.status != status {
					t.Errorf("%+v, %v; want status %d", got, err, status)
				}
			}
			if took := time.Since(began); took < tc.least {
				t.Errorf("it took %s, want %s", took, tc.least)
			}
			got, last := e.Stats().Series[name], proxy.CodeOf(tc.statuses[len(tc.statuses)-1])
			if n := got.Ended(); n != uint64(len(tc.statuses)) || !slices.Contains(got.Codes, proxy.CodeCount{Code: last, Flag: tc.flag, N: tc.want}) {
				t.Errorf("%+v, want %d of %s with flag %s", got, tc.want, last, tc.flag)
			}
		})
	}
}

// TestADelayedStreamIsSentByTheNextProcess: a delay ends when the stream moves, and an abort behind it is answered.
func TestADelayedStreamIsSentByTheNextProcess(t *testing.T) {
	to, _ := serveGRPC(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	s.Clusters["shop"].MaxRequests = 10
	all := config.Fraction{Numerator: 1, Denominator: 1}
	late := config.Fault{Delayed: all, Delay: time.Hour}
	never := late
	never.Aborted, never.Status = all, 503
	s.Hosts["late.demo"] = &config.Host{Name: "late.demo", Routes: []config.Route{{Name: "late", Cluster: "shop", Fault: &late}}}
	s.Hosts["never.demo"] = &config.Host{Name: "never.demo", Routes: []config.Route{{Name: "never", Cluster: "shop", Fault: &never}}}
	e, set := newEngine(t, 1, 1)
	now := generation{e, set, 1}
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	asking := sync.WaitGroup{}
	for host, code := range map[string]codes.Code{"late.demo": codes.OK, "never.demo": codes.Unavailable} {
		c := dialGRPC(t, addr, host)
		asking.Go(func() {
			_, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload(10)})
			if err := want(err, code, ""); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		})
	}
	until(t, "both are delayed", func() bool { return e.Stats().Delayed == 2 })
	now = hop(t, now, 1, s)
	defer now.Stop()
	asking.Wait()
	if n := held(now.Engine, "shop", "requests"); n != 0 {
		t.Errorf("%d requests are held, want none", n)
	}
}
