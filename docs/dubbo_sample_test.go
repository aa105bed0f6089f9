package docs_test

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDubboSample routes Dubbo with dubbo.yaml, with a takeover in the middle of a request.
func TestDubboSample(t *testing.T) {
	p := newPlace(t)
	file := p.file("dubbo.yaml", "dubbo.yaml")
	if err := os.MkdirAll(filepath.Join(p.dir, "run/axle"), 0o700); err != nil {
		t.Fatal(err)
	}
	answerDubbo(t, p.move("127.0.0.1:20880"), "ledger")
	answerDubbo(t, p.move("127.0.0.1:20881"), "gray")
	if out, err := exec.Command(program(t, "axle-sidecar"), "check", "-f", file).CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Fatalf("check: %v, %s", err, out)
	}
	first := start(t, program(t, "axle-sidecar"), "run", "-f", file)
	c := dial(t, p.move("127.0.0.1:12230"))
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	send := func(frame string) {
		if _, err := io.WriteString(c, frame); err != nil {
			t.Fatal(err)
		}
	}
	receive := func(id uint64, status byte, want string) {
		head, body, err := readDubbo(c)
		if err != nil || binary.BigEndian.Uint64(head[4:]) != id || head[3] != status || !strings.Contains(body, want) {
			t.Fatalf("got % x %q, %v; want id %d, status %d and %q", head, body, err, id, status, want)
		}
	}
	send(dubboRequest(1, "query", "group", ""))
	receive(1, 20, "ledger")
	send(dubboRequest(2, "query", "user", "test"))
	receive(2, 20, "gray")
	send(dubboRequest(3, "pay", "group", "gray"))
	receive(3, 20, "gray")
	send(dubboRequest(4, "pay", "group", "blue"))
	receive(4, 60, "no route")
	half := dubboRequest(5, "pay", "group", "gray")
	send(half[:40])
	eventually(t, "ready", func() bool { return page(p.move("http://127.0.0.1:13371/readyz")) == "ok\n" })
	start(t, program(t, "axle-sidecar"), "run", "-f", file, "--takeover")
	if code := first.exit(); code != 0 {
		t.Errorf("the first exited with %d", code)
	}
	send(half[40:])
	receive(5, 20, "gray")
	if got := page(p.move("http://127.0.0.1:13370/state")); !strings.Contains(got, `"generation":2`) {
		t.Errorf("state %s, want generation 2", got)
	}
}

// dubboRequest calls a method without arguments of com.axlemesh.demo.Ledger:1.0, with one attachment.
func dubboRequest(id uint64, method, name, value string) string {
	text := func(s string) string { return string([]byte{byte(len(s))}) + s }
	body := text("2.0.2") + text("com.axlemesh.demo.Ledger") + text("1.0") + text(method) + text("") + "H" + text(name) + text(value) + "Z"
	return dubboFrame(0xc2, 0, id, body)
}

func dubboFrame(flags, status byte, id uint64, body string) string {
	b := binary.BigEndian.AppendUint64([]byte{0xda, 0xbb, flags, status}, id)
	return string(binary.BigEndian.AppendUint32(b, uint32(len(body)))) + body
}

func readDubbo(r io.Reader) (head [16]byte, body string, err error) {
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return head, "", err
	}
	b := make([]byte, binary.BigEndian.Uint32(head[12:]))
	_, err = io.ReadFull(r, b)
	return head, string(b), err
}

// answerDubbo serves Dubbo at address and answers everything with a name.
func answerDubbo(t *testing.T, address, name string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				for {
					head, _, err := readDubbo(conn)
					if err != nil {
						return
					}
					_, _ = io.WriteString(conn, dubboFrame(2, 20, binary.BigEndian.Uint64(head[4:]), name))
				}
			}()
		}
	}()
}
