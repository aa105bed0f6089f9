package app

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/config"
)

// TestTheDumpHasNoSecret looks in the config dump of a sidecar with TLS and an operator for everything that is secret.
func TestTheDumpHasNoSecret(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	const token, once = "the-join-token", "the-one-time-key"
	boot := bootstrap.Bootstrap{
		Node:     bootstrap.Node{ID: "pod", Version: "v1", Generation: 1},
		Operator: &bootstrap.Operator{Address: "axle:15010", ServerName: "axle", CA: "a PEM bundle"},
	}
	a, err := prepare(Options{
		Bootstrap: boot.Defaulted(1), JoinToken: token, Clock: func() time.Duration { return 0 }, Now: func() time.Time { return time.Time{} }, Log: testr.New(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	a.offered.key = once
	block := &config.TLS{Certificates: []config.Certificate{config.Pair(file, file)}, Trust: config.PEM{File: file}, Name: "shop"}
	a.gate = newGate(func(*config.Snapshot) error { return nil }, a.Log)
	if err := a.gate.now(&config.Snapshot{
		Listeners: []config.Listener{{Name: "in", TLS: block}},
		Clusters:  map[string]*config.Cluster{"shop": {Name: "shop", TLS: block, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:80")}}},
	}); err != nil {
		t.Fatal(err)
	}
	dump, err := json.Marshal(a.dump())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(dump, []byte(file)) {
		t.Errorf("the dump does not name the key's file: %s", dump)
	}
	scalar, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{"a PEM block": []byte("PRIVATE KEY"), "the join token": []byte(token), "the handover's key": []byte(once)}
	for name, raw := range map[string][]byte{"the key": scalar, "its DER": der, "its PEM": text} {
		secrets[name] = raw
		secrets[name+" in hex"] = []byte(hex.EncodeToString(raw))
		secrets[name+" in base64"] = []byte(base64.StdEncoding.EncodeToString(raw))
	}
	for name, secret := range secrets {
		if bytes.Contains(dump, secret) {
			t.Errorf("the dump has %s", name)
		}
	}
}

// TestADumpCanHoldNoKey: whatever else comes into a configuration, what is bytes is not shown unless its type says how. A
// certificate with its key that a control plane sends is bytes.
func TestADumpCanHoldNoKey(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(typ reflect.Type, path string)
	walk = func(typ reflect.Type, path string) {
		if seen[typ] || typ.Implements(reflect.TypeFor[json.Marshaler]()) || reflect.PointerTo(typ).Implements(reflect.TypeFor[json.Marshaler]()) ||
			typ == reflect.TypeFor[netip.AddrPort]() {
			return
		}
		seen[typ] = true
		switch typ.Kind() {
		case reflect.Pointer, reflect.Map:
			walk(typ.Elem(), path)
		case reflect.Slice, reflect.Array:
			if typ.Elem().Kind() == reflect.Uint8 {
				t.Errorf("%s is bytes: give its type a MarshalJSON that shows no secret, or the tag json:\"-\"", path)
			}
			walk(typ.Elem(), path+"[]")
		case reflect.Struct:
			for f := range typ.Fields() {
				if f.IsExported() && f.Tag.Get("json") != "-" {
					walk(f.Type, path+"."+f.Name)
				}
			}
		}
	}
	walk(reflect.TypeFor[dumped](), "dump")
	if len(seen) < 20 {
		t.Errorf("only %d types were looked at", len(seen))
	}
}
