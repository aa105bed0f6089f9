package proxy_test

import (
	"slices"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// ends is how the requests of a route have ended, in every direction and protocol.
type ends struct {
	all      uint64
	answered uint64 // by an endpoint
	own      uint64 // by the sidecar, or cut off
	gone     uint64 // their client was
	codes    map[string]uint64
}

func endsOf(s proxy.Stats, host, route string) ends {
	e := ends{codes: map[string]uint64{}}
	for name, c := range s.Series {
		if name.Host != host || name.Route != route {
			continue
		}
		for _, one := range c.Codes {
			e.all += one.N
			e.codes[one.Code.String()] += one.N
			switch one.Flag {
			case proxy.FlagNone:
				e.answered += one.N
			case proxy.FlagClientGone:
				e.gone += one.N
			default:
				e.own += one.N
			}
		}
	}
	return e
}

// allEnded checks that the end of every request was counted once, whoever was its process, and how many were anything but
// answered.
func allEnded(t *testing.T, s proxy.Stats, flagged uint64) {
	t.Helper()
	var ended, bad uint64
	for name, c := range s.Series {
		if name.Protocol == proxy.SpokenTCP {
			continue
		}
		ended += c.Ended()
		timed := uint64(0)
		for _, n := range c.Latency {
			timed += n
		}
		if timed > c.Ended() || c.Total <= 0 {
			t.Errorf("%+v: %d have ended, in %s", name, c.Ended(), c.Total)
		}
		for _, one := range c.Codes {
			if one.Flag != proxy.FlagNone {
				bad += one.N
			}
		}
	}
	if asked := s.Requests[config.Inbound] + s.Requests[config.Outbound]; ended != asked || asked == 0 || bad > flagged {
		t.Errorf("%d requests have ended of %d, %d of them not well: %+v", ended, asked, bad, s.Series)
	}
	logged(t, s, ended)
}

// neverBack checks that no counter of a later reading is below one of an earlier.
func neverBack(t *testing.T, was, is proxy.Stats) {
	t.Helper()
	for name, old := range was.Series {
		now := is.Series[name]
		if now.Total < old.Total || now.Ended() < old.Ended() {
			t.Errorf("%+v went back: %+v after %+v", name, now, old)
		}
		for _, one := range old.Codes {
			if !slices.ContainsFunc(now.Codes, func(c proxy.CodeCount) bool {
				return c.Code == one.Code && c.Flag == one.Flag && c.N >= one.N
			}) {
				t.Errorf("%+v, %s %s went back", name, one.Code, one.Flag)
			}
		}
	}
	for name, old := range was.Upstreams {
		now := is.Upstreams[name]
		if now.Received < old.Received || now.Sent < old.Sent || now.Connections < old.Connections {
			t.Errorf("%s went back: %+v after %+v", name, now, old)
		}
	}
	for d := range was.Received {
		if is.Received[d] < was.Received[d] || is.Sent[d] < was.Sent[d] || is.Requests[d] < was.Requests[d] {
			t.Errorf("the bytes of clients went back: %d after %d, %d after %d", is.Received, was.Received, is.Sent, was.Sent)
		}
	}
}

// TestBytesAreCounted counts what is on the wire, to both sides.
func TestBytesAreCounted(t *testing.T) {
	addr := freePort(t)
	e := started(t, 1, snapshot(addr, serve(t, nil)))
	c := dial(t, addr)
	for range 3 {
		if err := c.ask([]byte("four")); err != nil {
			t.Fatal(err)
		}
	}
	c.settle(t)
	s := e.Stats()
	up := s.Upstreams["echo"]
	if up.Connections != 1 || up.Sent != s.Received[config.Outbound] || up.Received != s.Sent[config.Outbound] || up.Sent < 3*22 {
		t.Errorf("clients have sent %d and got %d; the cluster %+v", s.Received, s.Sent, up)
	}
	if l := s.Load["echo"]; l == nil || l.Connections != 1 || l.Active != 0 || l.Pending != 0 || l.Endpoints["healthy"] != 1 {
		t.Errorf("load %+v", l)
	}
	allEnded(t, s, 0)
	one := e.Clusters()[0].Endpoints[0]
	if one.Connections != 1 || one.Active != 0 || one.Requests != 3 || one.Errors != 0 {
		t.Errorf("/clusters shows %+v", one)
	}
}
