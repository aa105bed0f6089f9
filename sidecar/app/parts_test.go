package app

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/config"
)

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	want := keyFile{Generation: 1, To: 2, Key: []byte("secret")}
	if err := want.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := readKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("key file (-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files are left, %v", len(entries), err)
	}
	if err := want.write(filepath.Join(path, "no", "such")); err == nil {
		t.Error("written into nowhere")
	}
}

func TestKeyFileOfSomebodyElse(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good", 0o600, `{"generation":1}`)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct{ path, want string }{
		"readable by others": {file("wide", 0o644, `{}`), "mode 0600"},
		"a link":             {link, "too many levels of symbolic links"},
		"a directory":        {dir, "regular file"},
		"not there":          {filepath.Join(dir, "none"), "no such file"},
		"half of it":         {file("half", 0o600, `{"gen`), "unexpected end"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := readKeyFile(tc.path); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestParseListening(t *testing.T) {
	const file = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2FA8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:2FA9 0100007F:2FA8 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 3
   9: nonsense
`
	got := map[uint16]bool{}
	parseListening([]byte(file), got)
	if diff := cmp.Diff(map[uint16]bool{12200: true, 80: true}, got); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
}

func TestAppListens(t *testing.T) {
	s := &config.Snapshot{
		Listeners: []config.Listener{
			{Name: "in", Direction: config.Inbound, Cluster: "inbound/12200"},
			{Name: "out", Direction: config.Outbound, Cluster: "far"},
		},
		Clusters: map[string]*config.Cluster{
			"inbound/12200": {Endpoints: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:12200")}},
			"far":           {Endpoints: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:80")}},
		},
	}
	if !appListens(s, map[uint16]bool{12200: true}) {
		t.Error("the application's port is open, and not seen")
	}
	if appListens(s, map[uint16]bool{80: true}) {
		t.Error("somebody else's port was taken for the application's")
	}
}

func TestGate(t *testing.T) {
	applied := make(chan string, 10)
	fail := errors.New("the port is taken")
	failures := 0
	g := newGate(func(s *config.Snapshot) error {
		if s.Version == "bad" && failures == 0 {
			failures++
			return fail
		}
		applied <- s.Version
		return nil
	}, testr.New(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { g.run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	none := func(why string) {
		t.Helper()
		select {
		case v := <-applied:
			t.Errorf("%s was applied: %s", v, why)
		case <-time.After(50 * time.Millisecond):
		}
	}
	next := func(want string) {
		t.Helper()
		select {
		case got := <-applied:
			if got != want {
				t.Errorf("%s was applied, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s was never applied", want)
		}
	}
	if err := g.now(nil); err == nil {
		t.Error("applied nothing")
	}
	g.offer(&config.Snapshot{Version: "1"})
	none("the gate is closed")
	g.admit()
	next("1")
	g.hold(true)
	g.offer(&config.Snapshot{Version: "2"})
	g.offer(&config.Snapshot{Version: "3"})
	none("the gate is held")
	g.hold(false)
	next("3")
	none("nothing is new")
	g.offer(&config.Snapshot{Version: "bad"})
	next("bad")       // the second try
	g.applying.Lock() // it has told us before it is through
	s, err := g.status()
	g.applying.Unlock()
	if err != nil || s.Version != "bad" {
		t.Errorf("status %v, %v", s, err)
	}
	if err := g.now(&config.Snapshot{Version: "fallback"}); err != nil {
		t.Error(err)
	}
	next("bad") // its own goes before the fallback
}
