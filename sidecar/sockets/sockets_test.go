package sockets

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// journal records what a Store is told.
type journal struct{ lines []string }

func (j *journal) Add(key string, _ int) error { j.lines = append(j.lines, "add "+key); return nil }
func (j *journal) Remove(key string) error     { j.lines = append(j.lines, "remove "+key); return nil }

func flags(t *testing.T, fd int) (nonblock, cloexec bool) {
	t.Helper()
	fl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	fdfl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fl&unix.O_NONBLOCK != 0, fdfl&unix.FD_CLOEXEC != 0
}

func open(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

func TestListenKeepsAnAdoptedSocket(t *testing.T) {
	first := &Set{}
	defer first.Release()
	if _, err := first.Listen(Admin, "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	addr := first.Addr(Admin)
	fd, err := first.Dup(Admin)
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{}
	second := &Set{Store: j}
	defer second.Release()
	if err := second.Adopt(Admin, fd); err != nil {
		t.Fatal(err)
	}
	got, err := second.Listen(Admin, "tcp", addr)
	if err != nil || got != fd {
		t.Errorf("Listen = %d, %v; want the adopted descriptor %d", got, err, fd)
	}
	if nb, ce := flags(t, got); !nb || !ce {
		t.Errorf("non-blocking %v, close-on-exec %v; want both", nb, ce)
	}
	if diff := cmp.Diff([]string{"add admin"}, j.lines); diff != "" {
		t.Errorf("store (-want +got):\n%s", diff)
	}
}

func TestListenAtAnotherAddress(t *testing.T) {
	j := &journal{}
	s := &Set{Store: j}
	defer s.Release()
	if _, err := s.Listen("listener/a", "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	was := s.Addr("listener/a")
	_, port, _ := net.SplitHostPort(was)
	if _, err := s.Listen("listener/a", "tcp", "0.0.0.0:"+port); err != nil {
		t.Fatalf("the same port on all addresses: %v", err)
	}
	if got, want := s.Addr("listener/a"), "0.0.0.0:"+port; got != want {
		t.Errorf("address %s, want %s", got, want)
	}
	if n := len(s.All()); n != 1 {
		t.Errorf("%d sockets, want 1", n)
	}
	if diff := cmp.Diff([]string{"add listener/a", "add listener/a"}, j.lines); diff != "" {
		t.Errorf("store (-want +got):\n%s", diff)
	}
}

func TestListenFailureKeepsTheOldSocket(t *testing.T) {
	s := &Set{}
	defer s.Release()
	fd, err := s.Listen("x", "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// 192.0.2.1 is documentation space: no interface here has it.
	_, err = s.Listen("x", "tcp", "192.0.2.1:80")
	if !errors.Is(err, unix.EADDRNOTAVAIL) || !strings.Contains(err.Error(), s.Addr("x")) {
		t.Errorf("error %v; want EADDRNOTAVAIL and where it still listens", err)
	}
	if got, ok := s.FD("x"); !ok || got != fd || !open(fd) {
		t.Errorf("descriptor %d, %v; want %d, still open", got, ok, fd)
	}
}

func TestListenRejects(t *testing.T) {
	cases := map[string]struct{ network, addr, want string }{
		"a name":             {"tcp", "localhost:80", "ParseAddr"},
		"no port":            {"tcp", "127.0.0.1", "port"},
		"a zone":             {"tcp", "[fe80::1%lo]:80", "zone"},
		"no Unix name":       {"unixpacket", "@", "needs a name"},
		"an unknown network": {"udp", "127.0.0.1:1", "unknown network"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := new(Set).Listen("k", tc.network, tc.addr)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.addr) {
				t.Errorf("error %v; want %q and the address", err, tc.want)
			}
		})
	}
}

func TestAdoptRejectsWhatDoesNotListen(t *testing.T) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(p[1]) }()
	if err := new(Set).Adopt("k", p[0]); err == nil || !strings.Contains(err.Error(), "does not listen") {
		t.Errorf("error %v; want that it does not listen", err)
	}
	if open(p[0]) {
		t.Error("the rejected descriptor is still open")
	}
}

func TestUnixPacket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handover.sock")
	for name, addr := range map[string]string{"path": path, "abstract": "@axle-test/" + filepath.Base(t.TempDir()) + path} {
		t.Run(name, func(t *testing.T) {
			s := &Set{}
			fd, err := s.Listen(Handover, "unixpacket", addr)
			if err != nil {
				t.Fatal(err)
			}
			if kind, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); kind != unix.SOCK_SEQPACKET {
				t.Errorf("socket type %d, want SEQPACKET", kind)
			}
			if _, err := new(Set).Listen(Handover, "unixpacket", addr); !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("a second holder: %v, want EADDRINUSE", err)
			}
			s.Release()
			again := &Set{}
			defer again.Release()
			if _, err := again.Listen(Handover, "unixpacket", addr); err != nil {
				t.Errorf("after the holder is gone: %v", err)
			}
		})
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestListener(t *testing.T) {
	s := &Set{}
	defer s.Release()
	fd, err := s.Listen(Admin, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Listener(Admin)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := l.Addr().String(), s.Addr(Admin); got != want {
		t.Errorf("address %s, want %s", got, want)
	}
	go func() {
		if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
			_ = c.Close()
		}
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if nb, _ := flags(t, fd); !nb {
		t.Error("the shared description became blocking")
	}
	done := make(chan error)
	go func() { _, err := l.Accept(); done <- err }()
	time.Sleep(10 * time.Millisecond)
	_ = l.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v, want net.ErrClosed", err)
	}
	if !open(fd) {
		t.Error("closing the listener closed the set's descriptor")
	}
}

func TestCloseAndAll(t *testing.T) {
	j := &journal{}
	s := &Set{Store: j}
	defer s.Release()
	for _, key := range []string{"b", "a"} {
		if _, err := s.Listen(key, "tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	for _, sock := range s.All() {
		keys = append(keys, sock.Key)
	}
	if diff := cmp.Diff([]string{"a", "b"}, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	fd, _ := s.FD("a")
	if err := s.Close("a"); err != nil || open(fd) {
		t.Errorf("close: %v, open %v", err, open(fd))
	}
	if err := s.Close("a"); err != nil {
		t.Errorf("closing again: %v", err)
	}
	if diff := cmp.Diff([]string{"add b", "add a", "remove a"}, j.lines); diff != "" {
		t.Errorf("store (-want +got):\n%s", diff)
	}
}
