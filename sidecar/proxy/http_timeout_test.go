package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/config"
)

// beginning is an endpoint that says what it is told to, once it has read a request's head, and then waits.
func beginning(t *testing.T, says string, went chan<- net.Conn) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
			return
		}
		_, _ = io.WriteString(conn, says)
		went <- conn
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// TestHowLongAnHTTPRequestMayTake: an application may take its time, unless a route says otherwise; a route's timeout is for all of
// the answer; and what stands still for ever is not kept for ever.
func TestHowLongAnHTTPRequestMayTake(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
	cases := map[string]struct {
		timeout time.Duration // of the route
		says    string        // before the clock jumps
		skip    time.Duration
		then    string // after it
		want    string // what the client has got when its connection is at an end; it asked for one answer only
	}{
		"no answer for ten minutes":               {skip: 10 * time.Minute, then: head + "0123456789", want: "200 0123456789"},
		"a body that stops for ten minutes":       {says: head + "01234", skip: 10 * time.Minute, then: "56789", want: "200 0123456789"},
		"no answer in the route's time":           {timeout: time.Minute, skip: 61 * time.Second, want: "504 "},
		"a body that stops beyond the time":       {timeout: time.Minute, says: head + "01234", skip: 61 * time.Second, want: "200 01234, broken"},
		"a body within the route's time":          {timeout: time.Minute, says: head + "01234", skip: 30 * time.Second, then: "56789", want: "200 0123456789"},
		"no answer for longer than is remembered": {skip: 2*config.Forgotten + time.Second, want: "504 "},
		"a body that stops for ever":              {says: head + "01234", skip: 2*config.Forgotten + time.Second, want: "200 01234, broken"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			went := make(chan net.Conn, 1)
			to, addr := beginning(t, tc.says, went), freePort(t)
			s := httpSnapshot(addr, to)
			s.Hosts["shop.demo"].Routes[0].Timeout = tc.timeout
			e, skip := skipped(t, 1, s)
			client, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			_ = client.SetDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: shop.demo\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			endpoint := <-went
			defer func() { _ = endpoint.Close() }()
			answer := bufio.NewReader(client)
			if tc.says != "" { // what was said has gone all the way before the clock jumps
				if _, err := answer.Peek(len(tc.says)); err != nil {
					t.Fatal(err)
				}
				e.Stats()
			}
			skip(tc.skip / 2)
			skip(tc.skip - tc.skip/2)
			if _, err := io.WriteString(endpoint, tc.then); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(answer, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			got := res.Status[:4] + string(body)
			if err != nil {
				got += ", broken"
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}
