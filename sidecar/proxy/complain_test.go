package proxy_test

import (
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestTheLogSaysWhatPeersDoNotSpeak: a peer that cannot be talked to at all shows in the log, as what it is, with the reason.
func TestTheLogSaysWhatPeersDoNotSpeak(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	const toEndpoint, toClient = `"cluster"="shop"`, `"on"="http"`
	says := func(first string) netip.AddrPort {
		ln := listenTCP(t)
		go func() {
			for conn, err := ln.Accept(); err == nil; conn, err = ln.Accept() {
				_, _ = conn.Read(make([]byte, 1<<10))
				_, _ = conn.Write([]byte(first))
			}
		}()
		return ln.Addr().(*net.TCPAddr).AddrPort()
	}
	const http1, http2, alert = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64", "\x15\x03\x01\x00\x02\x02\x46"
	for name, tc := range map[string]struct {
		protocol config.Protocol
		in, out  *config.TLS
		first    string      // of the endpoint
		client   *tls.Config // nil asks in plain
		want     []string
	}{
		"HTTP/1 to an endpoint of HTTP/2":    {config.HTTP1, nil, nil, http2, nil, []string{toEndpoint, "an endpoint broke the protocol", "the endpoint speaks HTTP/2"}},
		"HTTP/2 to an endpoint of HTTP/1":    {config.HTTP2, nil, nil, http1, nil, []string{toEndpoint, "an endpoint broke the protocol", "the endpoint speaks HTTP/1"}},
		"HTTP/1 to an endpoint of TLS":       {config.HTTP1, nil, nil, alert, nil, []string{toEndpoint, "the endpoint speaks TLS"}},
		"HTTP/2 to an endpoint of TLS":       {config.HTTP2, nil, nil, alert + alert, nil, []string{toEndpoint, "the endpoint speaks TLS"}},
		"TLS to an endpoint without":         {config.HTTP1, nil, ours.outbound(), http1, nil, []string{toEndpoint, "a TLS handshake has failed", "does not look like a TLS handshake"}},
		"a client without TLS":               {config.HTTP1, ours.inbound(), nil, http1, nil, []string{toClient, "a TLS handshake has failed", "the client does not begin one"}},
		"a client of another authority":      {config.HTTP1, ours.inbound(), nil, http1, foreignClient(ours, other), []string{toClient, "a TLS handshake has failed", "unknown authority"}},
		"a client without a certificate":     {config.HTTP1, ours.inbound(), nil, http1, &tls.Config{InsecureSkipVerify: true, ServerName: "in.test"}, []string{toClient, "a TLS handshake has failed", "certificate"}},
		"a client that does not trust us":    {config.HTTP1, ours.inbound(), nil, http1, other.client(0), []string{toClient, "a TLS handshake has failed", "bad certificate"}},
		"a client of a version that is gone": {config.HTTP1, ours.inbound(), nil, http1, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, []string{toClient, "a TLS handshake has failed", "unsupported versions"}},
	} {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			s := httpSnapshot(addr, says(tc.first))
			s.Listeners[0].Protocol, s.Listeners[0].TLS, s.Clusters["shop"].TLS = tc.protocol, tc.in, tc.out
			var mu sync.Mutex
			var lines []string
			complaining(t, 0, s, func(line string) {
				mu.Lock()
				defer mu.Unlock()
				lines = append(lines, line)
			})
			if tc.client != nil {
				_ = tls.Client(dialTCP(t, addr), tc.client).Handshake() // it stays open: a reset could overtake its alert
			} else if res, err := webs(t)[tc.protocol](addr).Get("http://shop.demo/"); err == nil {
				_ = res.Body.Close()
			}
			until(t, "a line with all of "+strings.Join(tc.want, ", "), func() bool {
				mu.Lock()
				defer mu.Unlock()
				for _, line := range lines {
					missing := false
					for _, part := range tc.want {
						missing = missing || !strings.Contains(line, part)
					}
					if !missing {
						return true
					}
				}
				return false
			})
		})
	}
}

// foreignClient trusts the authority of ours, and has a certificate of another one.
func foreignClient(ours, other *authority) *tls.Config {
	c := ours.client(0)
	c.Certificates = other.client(0).Certificates
	return c
}
