package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzKeyFile reads what another release has left: what is believed is written so that it is read again.
func FuzzKeyFile(f *testing.F) {
	for _, s := range []string{`{"generation":1}`, `{"generation":1,"to":2,"key":"a2V5"}`, `{"key":1}`, "", "{", `{"generation":1}{`} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "key")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := readKeyFile(path)
		if err != nil {
			return
		}
		if err := k.write(path); err != nil {
			t.Fatal(err)
		}
		if again, err := readKeyFile(path); err != nil || cmp.Diff(k, again, cmp.AllowUnexported(keyFile{})) != "" {
			t.Errorf("%+v is written, and read as %+v, %v", k, again, err)
		}
	})
}

// FuzzListening reads a table of sockets: a line has at most one port.
func FuzzListening(f *testing.F) {
	const head = "  sl  local_address rem_address   st tx_queue\n"
	f.Add([]byte(head + "   0: 0100007F:2FA8 00000000:0000 0A 00000000:00000000\n"))
	f.Add([]byte(head + "   0: 00000000000000000000000000000000:1F90 0:0 0A\n 1: 2FA8 x 0A\n 2: :1 x 0A"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ports, lines := map[uint16]bool{}, 1
		parseListening(b, ports)
		for _, c := range b {
			if c == '\n' {
				lines++
			}
		}
		if len(ports) > lines {
			t.Errorf("%d ports in %d lines", len(ports), lines)
		}
	})
}
