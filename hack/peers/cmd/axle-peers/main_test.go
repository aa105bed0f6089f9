package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/hack/peers/boltclient"
	"github.com/axlemesh/axle/hack/peers/boltserver"
)

// free returns a loopback address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func ask(t *testing.T, url string, v any) bool {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(v) == nil
}

func TestServerAndClientTalkAndReport(t *testing.T) {
	bolt, serverWeb, clientWeb := free(t), free(t), free(t)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	start := func(args ...string) {
		work.Go(func() {
			var log bytes.Buffer
			if err := run(ctx, args, &log); err != nil {
				t.Errorf("%v: %v", args, err)
			}
		})
	}
	defer work.Wait()
	defer cancel()
	start("client", "-direct", bolt, "-connections", "5", "-rate", "200", "-http", clientWeb, "-mesh", "")
	start("server", "-name", "s0", "-listen", bolt, "-http", serverWeb)
	for range 1000 {
		var c boltclient.Report
		var s boltserver.Report
		if ask(t, "http://"+clientWeb+"/report", &c) && ask(t, "http://"+serverWeb+"/report", &s) && c.Requests > 20 && s.Requests > 20 {
			if c.Failed != 0 || c.Servers["s0"] == 0 || s.Active != 5 {
				t.Errorf("client %+v, server %+v", c, s)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the client and the server did not report")
}

func TestShareAddsUp(t *testing.T) {
	conns, rate := 0, 0.0
	for i := range 3 {
		mine, part, err := share(100, 600, i, 3)
		if err != nil {
			t.Fatal(err)
		}
		if mine < 33 || mine > 34 {
			t.Errorf("client %d has %d connections", i, mine)
		}
		conns += mine
		rate += part
	}
	if conns != 100 || rate < 599.9 || rate > 600.1 {
		t.Errorf("together %d connections and %v requests/s", conns, rate)
	}
	if _, _, err := share(1, 1, 3, 3); err == nil {
		t.Error("client 3 of 3 got a share")
	}
}

func TestRunRefuses(t *testing.T) {
	cases := map[string][]string{
		"no command":              nil,
		"an unknown command":      {"proxy"},
		"a client without target": {"client"},
		"no target for HTTP":      {"http-client"},
		"a field without a name":  {"http-client", "-direct", "x:1", "-field", "nonsense"},
		"an unknown flag":         {"server", "-nonsense"},
	}
	for name, args := range cases {
		t.Run(name, func(t *testing.T) {
			if err := run(context.Background(), args, &bytes.Buffer{}); err == nil {
				t.Error("no error")
			}
		})
	}
}
