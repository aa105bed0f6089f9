package proxy_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/codec/change"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// http2Plan is a route that does what a stream has to carry in a handover.
func http2Plan(pause time.Duration) config.Route {
	return config.Route{
		Name: "r", Cluster: "shop", Attempts: 3,
		Retry: &config.Retry{On: config.RetryReset, AnyMethod: true, Backoff: pause, MaxBackoff: pause, BudgetPercent: 100},
		Edit: &config.Edit{
			Request:  []change.Field{{Op: change.Set, Name: "x-id", Value: "changed"}},
			Response: []change.Field{{Op: change.Set, Name: "x-more", Value: "here, too"}},
			Host:     "inner.demo", Prefix: "/e", With: "/E",
		},
	}
}

// hangUp ends the connection; what comes next is another one.
func (l *lazyConn) hangUp() {
	_ = l.Close()
	l.Conn = nil
}

// TestHTTP2FreezeAtEveryByteByAPlan is TestHTTP2FreezeAtEveryByte by a route that changes what it passes on, and has an
// endpoint that ends its connection after the hop: the next owner sends all requests again, and changes their answers.
func TestHTTP2FreezeAtEveryByteByAPlan(t *testing.T) {
	requests, want := http2Session()
	for i := range want {
		id, rest, _ := strings.Cut(want[i], " 7f2c1c5e ")
		want[i] = id + " changed here, too " + strings.TrimPrefix(strings.TrimPrefix(rest, "of it"), " ")
	}
	for cut := 0; cut <= len(requests); cut++ {
		got := http2SweepBy(t, http2Plan(time.Millisecond), func(client net.Conn, up *lazyConn, _ *proxy.Engine, hop func(rx, answers uint64)) error {
			write(t, client, requests[:cut])
			hop(uint64(cut), 0)
			write(t, client, requests[cut:])
			if _, err := greetHTTP2(up, 3); err != nil {
				return err
			}
			up.hangUp()
			all, err := greetHTTP2(up, 3)
			write(t, up, answersTo(all))
			return err
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("at byte %d of %d requests (-want +got):\n%s", cut, len(requests), diff)
		}
	}
	for cut, last := 0, 1; cut <= last; cut++ {
		got := http2SweepBy(t, http2Plan(time.Millisecond), func(client net.Conn, up *lazyConn, _ *proxy.Engine, hop func(rx, answers uint64)) error {
			write(t, client, requests)
			all, err := greetHTTP2(up, 3)
			answers := answersTo(all)
			last = len(answers)
			write(t, up, answers[:min(cut, last)])
			hop(uint64(len(requests)), uint64(min(cut, last)))
			write(t, up, answers[min(cut, last):])
			return err
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("at byte %d of %d answers (-want +got):\n%s", cut, last, diff)
		}
	}
}

// TestHTTP2HopsBetweenTwoTries: what waits for its next try is sent at once by the next owner, with its body and trailers.
func TestHTTP2HopsBetweenTwoTries(t *testing.T) {
	requests, _ := http2Session()
	got := http2SweepBy(t, http2Plan(time.Hour), func(client net.Conn, up *lazyConn, from *proxy.Engine, hop func(rx, answers uint64)) error {
		write(t, client, requests)
		if _, err := greetHTTP2(up, 3); err != nil {
			return err
		}
		up.hangUp()
		until(t, "all wait for their next try", func() bool { return from.Stats().Retried == 3 })
		hop(uint64(len(requests)), 0)
		all, err := greetHTTP2(up, 3)
		write(t, up, answersTo(all))
		return err
	})
	want := []string{
		"1 changed here, too first and last map[] done", "3 changed here, too  map[] done", "5 changed here, too body map[x-sum:4] done",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
