package proxy_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestHTTP2InterimAnswersWithoutAReader is the same for HTTP/2, where one stream must not hold up the others: it is reset.
func TestHTTP2InterimAnswersWithoutAReader(t *testing.T) {
	ln := listenTCP(t)
	addr := freePort(t)
	e := started(t, 1, http2Snapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
	client := dialTCP(t, addr)
	script := newHTTP2Script()
	script.WriteString(http2.ClientPreface)
	_ = script.WriteSettings()
	script.headers(1, true, 0, ":method= GET", ":scheme= http", ":authority= shop.demo", ":path= /")
	write(t, client, script.Bytes())
	endpoint, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = endpoint.Close() }()
	_ = endpoint.SetDeadline(time.Now().Add(60 * time.Second))
	hints := newHTTP2Script()
	_ = hints.WriteSettings()
	write(t, endpoint, hints.Bytes())
	reset := make(chan struct{})
	go func() {
		defer close(reset)
		awaitReset(endpoint)
	}()
	for done := false; !done; {
		hints.Reset()
		for range 32 {
			hints.headers(1, false, 0, ":status= 103", "link= "+strings.Repeat("~", 4000))
		}
		if _, err := endpoint.Write(hints.Bytes()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-reset:
			done = true
		default:
		}
		if n := mostWaiting(e); n > mostUnsent {
			t.Fatalf("%d bytes wait for the client", n)
		}
	}
	if n := e.Stats().Slow; n != 1 {
		t.Errorf("slow = %d, want 1", n)
	}
}

// awaitReset reads until stream 1 is reset, or nothing more comes.
func awaitReset(endpoint net.Conn) {
	_, _ = io.ReadFull(endpoint, make([]byte, len(http2.ClientPreface)))
	fr := http2.NewFramer(io.Discard, endpoint)
	for {
		f, err := fr.ReadFrame()
		if _, is := f.(*http2.RSTStreamFrame); is || err != nil {
			return
		}
	}
}

// TestWindowsAreWorkedOffTogether: small ones that come at once are not answered one by one, each with a look at every stream.
func TestWindowsAreWorkedOffTogether(t *testing.T) {
	to, _ := shop2(t)
	addr := freePort(t)
	started(t, 1, http2Snapshot(addr, to))
	conn := dialTCP(t, addr)
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	script := newHTTP2Script()
	script.WriteString(http2.ClientPreface)
	_ = script.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	script.headers(1, true, 0, ":method= GET", ":scheme= http", ":authority= shop.demo", ":path= /large")
	write(t, conn, script.Bytes())
	fr := http2.NewFramer(io.Discard, conn)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	const windows, each = 100, 64
	got, frames := 0, 0
	for got < windows*each {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			script.Reset()
			for range windows {
				_ = script.WriteWindowUpdate(1, each)
			}
			write(t, conn, script.Bytes())
		case *http2.DataFrame:
			got += len(f.Data())
			frames++
		}
	}
	if frames > windows/4 {
		t.Errorf("%d frames for %d windows that came together", frames, windows)
	}
}

// TestAClientThatWaitsLetsASidecarBeUpgraded: its requests are large, and its endpoint allows no stream.
func TestAClientThatWaitsLetsASidecarBeUpgraded(t *testing.T) {
	for name, path := range map[string]string{"requests that wait": "/zero", "trailers that wait": "/stall"} {
		t.Run(name, func(t *testing.T) {
			ln := listenTCP(t)
			settings := http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0}
			if path == "/stall" {
				settings = http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}
			}
			go greetAndStall(ln, settings)
			addr := freePort(t)
			s := http2Snapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort())
			e, set := newEngine(t, 1, 1)
			now := generation{e, set, 1}
			if err := e.Apply(s); err != nil {
				t.Fatal(err)
			}
			e.Serve()
			conn := dialTCP(t, addr)
			_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			write(t, conn, largeRequests(path == "/stall"))
			until(t, "all have come", func() bool { return e.Stats().Requests[config.Outbound] == 128 })
			e.Stats()
			now = hop(t, now, 1, s)
			now.Stop()
		})
	}
}

// largeRequests fill every stream of a connection with fields: their heads, or the trailers behind a body.
func largeRequests(trailers bool) []byte {
	script := newHTTP2Script()
	script.WriteString(http2.ClientPreface)
	_ = script.WriteSettings()
	large := "x-large= " + strings.Repeat("x", 3000)
	var many []string
	for range 19 {
		many = append(many, large)
	}
	for i := range uint32(128) {
		head := []string{":method= POST", ":scheme= http", ":authority= shop.demo", ":path= /"}
		if !trailers {
			script.headers(2*i+1, true, 0, append(head, many...)...)
			continue
		}
		script.headers(2*i+1, false, 0, head...)
		_ = script.WriteData(2*i+1, false, []byte("x"))
		script.headers(2*i+1, true, 0, many...)
	}
	return script.Bytes()
}

// greetAndStall says what its settings are, and answers nothing.
func greetAndStall(ln net.Listener, settings http2.Setting) {
	hello := newHTTP2Script()
	_ = hello.WriteSettings(settings)
	_ = hello.WriteSettingsAck()
	accepting(ln, func(conn net.Conn) {
		_, _ = conn.Write(hello.Bytes())
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	})
}
