package proxy_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// takeUpload is an endpoint that greets late, so that much of a request waits for it, and grants the windows again only when
// they are used up. It answers 200 when it has all of the body.
func takeUpload(conn net.Conn, size int) error {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(conn, preface); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond) // the client sends as much as it may
	fr := http2.NewFramer(conn, conn)
	if err := fr.WriteSettings(); err != nil {
		return err
	}
	const window = 65_535
	for got, used := 0, 0; ; {
		f, err := fr.ReadFrame()
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", got, err)
		}
		data, ok := f.(*http2.DataFrame)
		if !ok {
			continue
		}
		got += len(data.Data())
		if used += len(data.Data()); data.StreamEnded() {
			if got != size {
				return fmt.Errorf("%d bytes of %d", got, size)
			}
			s := newHTTP2Script()
			s.headers(data.StreamID, true, 0, ":status= 200")
			_, err := conn.Write(s.Bytes())
			return err
		}
		if used < window {
			continue
		}
		used = 0
		for _, id := range []uint32{0, data.StreamID} {
			if err := fr.WriteWindowUpdate(id, window); err != nil {
				return err
			}
		}
	}
}

// TestHTTP2UploadOnANewConnection has the first request for an endpoint bring more than one frame of body.
func TestHTTP2UploadOnANewConnection(t *testing.T) {
	for name, size := range map[string]int{"two frames": 20_000, "the whole window": 65_535, "many windows": 1_600_000} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ln.Close() }()
			addr := freePort(t)
			started(t, 1, http2Snapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
			took := make(chan error, 1)
			go func() {
				conn, err := ln.Accept()
				if err == nil {
					defer func() { _ = conn.Close() }()
					err = takeUpload(conn, size)
				}
				took <- err
				<-t.Context().Done()
			}()
			got, err := ask2(web2(t, addr), "POST", "/echo", strings.NewReader(strings.Repeat("x", size)))
			if err != nil || got.status != 200 {
				t.Errorf("%+v, %v; want status 200", got, err)
			}
			if err := <-took; err != nil {
				t.Error(err)
			}
		})
	}
}
