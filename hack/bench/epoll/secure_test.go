package epoll

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSecureCarriesPlainText sends more than a record holds to a TLS server of the standard library, and reads it back.
func TestSecureCarriesPlainText(t *testing.T) {
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS() // for its certificate
	defer web.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 1<<10)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			_, _ = c.Write(b[:n])
		}
	}()
	fd, err := Dial("127.0.0.2", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	c, err := Secure(fd, 512, func(raw net.Conn) *tls.Conn {
		return tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	})
	if err != nil {
		t.Fatal(err)
	}
	if state, ok := c.State(); !ok || state.Version != tls.VersionTLS13 {
		t.Errorf("agreed on %v, %v", state.Version, ok)
	}
	if err := Prepare(fd); err != nil {
		t.Fatal(err)
	}
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Add(fd); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	c.Out = append(c.Out, want...)
	if !c.Flush(p) {
		t.Fatal("the server went away")
	}
	for end := time.Now().Add(10 * time.Second); c.Have < len(want) && time.Now().Before(end); {
		for range p.Wait(100 * time.Millisecond) {
			if !c.Fill() || !c.Flush(p) {
				t.Fatal("the server went away")
			}
		}
	}
	if !bytes.Equal(c.In[:c.Have], want) {
		t.Errorf("%d bytes came back of %d", c.Have, len(want))
	}
}

func TestSecureFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			_ = c.Close()
		}
	}()
	fd, err := Dial("", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := Secure(fd, 512, func(raw net.Conn) *tls.Conn { return tls.Client(raw, &tls.Config{ServerName: "x"}) }); err == nil {
		t.Error("no error from a peer that hangs up")
	}
}
