package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// found skips a test where a program is not to be had.
func found(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(err)
	}
}

// suites of each version, as OpenSSL calls them.
var suites = map[string][]string{
	"-tls1_3": {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"},
	"-tls1_2": {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"},
}

func suiteFlags(version, suite string) []string {
	if version == "-tls1_3" {
		return []string{version, "-ciphersuites", suite}
	}
	return []string{version, "-cipher", suite}
}

// TestOpenSSLClients speak every suite, update keys where there are any to update, and meet a hop in between.
func TestOpenSSLClients(t *testing.T) {
	found(t, "openssl")
	a := newAuthority(t)
	cert, key := a.issue("web.test", webID)
	to, _ := shop(t)
	for version, all := range suites {
		for _, suite := range all {
			t.Run(suite, func(t *testing.T) {
				addr := freePort(t)
				s := secure(httpSnapshot(addr, to), a)
				s.Clusters["shop"].TLS = nil
				now := begun(t, 1, s)
				defer func() { now.Stop() }()
				args := append([]string{
					"s_client", "-connect", addr.String(), "-servername", "in.test", "-CAfile", a.file, "-verify_return_error", "-cert", cert, "-key", key,
				}, suiteFlags(version, suite)...)
				cmd := exec.Command("openssl", args...)
				in, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = cmd.Process.Kill() })
				body := strings.Repeat("y", 3000)
				for i := range 3 {
					_, _ = fmt.Fprintf(in, "POST /echo HTTP/1.1\r\nHost: shop.demo\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
					until(t, "it is answered", func() bool { return now.Stats().Answered[config.Outbound] == uint64(i+1) })
					time.Sleep(50 * time.Millisecond) // what is written together is no command
					if version == "-tls1_3" {
						_, _ = io.WriteString(in, "K\n") // a KeyUpdate that asks for one
						time.Sleep(50 * time.Millisecond)
					}
					now = hop(t, now, 1, s)
				}
				_ = in.Close()
				if err := cmd.Wait(); err != nil {
					t.Errorf("%v\n%s", err, out.String())
				}
				if n := strings.Count(out.String(), "KEYUPDATE"); version == "-tls1_3" && n != 3 {
					t.Errorf("%d KeyUpdates, want 3", n)
				}
				if n := strings.Count(out.String(), body); n != 3 {
					t.Errorf("%d answers, want 3\n%s", n, out.String())
				}
			})
		}
	}
}

// TestOpenSSLServers are endpoints of every suite, whose responses end with their connections.
func TestOpenSSLServers(t *testing.T) {
	found(t, "openssl")
	a := newAuthority(t)
	cert, key := a.issue("server.test", serverID)
	for version, all := range suites {
		for _, suite := range all {
			t.Run(suite, func(t *testing.T) {
				to, addr := freePort(t), freePort(t)
				args := append([]string{
					"s_server", "-accept", to.String(), "-cert", cert, "-key", key, "-CAfile", a.file, "-Verify", "2", "-verify_return_error", "-www",
				}, suiteFlags(version, suite)...)
				cmd := exec.Command("openssl", args...)
				var out bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				defer func() {
					_, _ = cmd.Process.Kill(), cmd.Wait()
					if t.Failed() {
						t.Logf("the server said: %s", out.String())
					}
				}()
				s := secure(httpSnapshot(addr, to), a)
				s.Listeners[0].TLS = nil
				e := started(t, 1, s)
				var page string
				until(t, "the server answers", func() bool {
					res, err := web(addr).Get("http://shop.demo/")
					if err != nil {
						return false
					}
					defer func() { _ = res.Body.Close() }()
					b, err := io.ReadAll(res.Body)
					page = string(b)
					return err == nil && res.StatusCode == 200
				})
				if !strings.Contains(page, suite) || e.Stats().Handshakes == 0 {
					t.Errorf("the server's page does not name %s:\n%s", suite, page)
				}
			})
		}
	}
}

// TestCurl asks with a client's certificate, and without.
func TestCurl(t *testing.T) {
	found(t, "curl")
	a := newAuthority(t)
	cert, key := a.issue("web.test", webID)
	to := secureShop(t, a.server(0))
	addr := freePort(t)
	e := started(t, 1, secure(httpSnapshot(addr, to), a))
	for _, version := range [][]string{{"--tls-max", "1.2"}, {"--tlsv1.3"}} {
		args := append(curl(a, addr), version...)
		args = append(args, "--cert", cert, "--key", key, "-d", "hello", "https://in.test/echo", "https://in.test/echo")
		out, err := exec.Command("curl", args...).CombinedOutput()
		if err != nil || string(out) != "hellohello" {
			t.Errorf("%v: %q, %v", version, out, err)
		}
		if out, err = exec.Command("curl", append(curl(a, addr), "https://in.test/")...).CombinedOutput(); err == nil {
			t.Errorf("without a certificate: %q", out)
		}
	}
	if n := e.Stats().Accepted[config.Outbound]; n != 4 {
		t.Errorf("%d connections, want 4", n)
	}
}

func curl(a *authority, addr netip.AddrPort) []string {
	return []string{
		"-sS", "--max-time", "10", "--cacert", a.file, "--connect-to", "in.test:443:" + addr.String(), "-H", "Host: shop.demo",
	}
}
