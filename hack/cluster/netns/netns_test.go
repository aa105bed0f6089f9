package netns

import (
	"errors"
	"io"
	"os"
	"testing"
)

func TestDoStaysAtHome(t *testing.T) {
	before, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	boom := errors.New("boom")
	if os.Geteuid() == 0 {
		if err := Do(Of(os.Getpid()), func() error { return boom }); !errors.Is(err, boom) {
			t.Errorf("the function's error is lost: %v", err)
		}
	}
	if after, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || after != before {
		t.Errorf("in %s, %v; want %s", after, err, before)
	}
	if err := Do("/proc/self/no-such-namespace", func() error { return nil }); err == nil {
		t.Error("no error for a namespace that does not exist")
	}
}

func TestListenAndDial(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("entering a network namespace needs root")
	}
	own := Of(os.Getpid())
	l, err := Listen(t.Context(), own, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			_, _ = io.WriteString(conn, "hello")
			_ = conn.Close()
		}
	}()
	conn, err := Dial(t.Context(), own, "tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if data, err := io.ReadAll(conn); string(data) != "hello" {
		t.Errorf("got %q, %v", data, err)
	}
}

func TestDialRefusesNames(t *testing.T) {
	for _, address := range []string{"localhost:1", "127.0.0.1"} {
		if _, err := Dial(t.Context(), Of(os.Getpid()), "tcp4", address); err == nil {
			t.Errorf("no error for %q", address)
		}
	}
}
