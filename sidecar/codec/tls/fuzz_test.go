package record_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"testing"

	record "github.com/axlemesh/axle/sidecar/codec/tls"
)

// fixed is a session of known secrets.
func fixed(t testing.TB, version, suite uint16, server bool) *record.Session {
	t.Helper()
	n := 32
	if suite == tls.TLS_AES_256_GCM_SHA384 {
		n = 48
	}
	s, err := record.New(record.Secrets{
		Version: version, Suite: suite, Server: server, ClientTraffic: bytes.Repeat([]byte{1}, n), ServerTraffic: bytes.Repeat([]byte{2}, n),
		Master: bytes.Repeat([]byte{3}, 48), ClientRandom: bytes.Repeat([]byte{4}, 32), ServerRandom: bytes.Repeat([]byte{5}, 32),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var every = []struct{ version, suite uint16 }{
	{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256}, {tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384}, {tls.VersionTLS13, tls.TLS_CHACHA20_POLY1305_SHA256},
	{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, {tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256},
}

// FuzzOpen feeds bytes of a peer that knows the keys (raw is false) or not, in pieces, with a freeze between them.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("\x17hello"), uint8(0), uint8(3), false)
	f.Add([]byte("\x16\x18\x00\x00\x01\x01"), uint8(1), uint8(1), false)
	f.Add([]byte("\x16\x04\x00\x00\x03\x01\x02\x03"), uint8(2), uint8(2), false)
	f.Add([]byte("\x15\x01\x00"), uint8(3), uint8(0), false)
	f.Add([]byte("\x17\x03\x03\x00\x13aaaaaaaaaaaaaaaaaaa"), uint8(4), uint8(9), true)
	f.Fuzz(func(t *testing.T, b []byte, which, cut uint8, raw bool) {
		of := every[int(which)%len(every)]
		ours, peer := fixed(t, of.version, of.suite, false), fixed(t, of.version, of.suite, true)
		in := b
		if !raw && len(b) > 0 && len(b) <= record.MaxPlain {
			in = peer.SealAs(nil, b[0], b[1:])
		}
		in = bytes.Clone(in)
		for len(in) > 0 {
			piece := in[:min(len(in), max(int(cut), 1))]
			plain, n, err := ours.Open(piece)
			if n == 0 && err == nil {
				piece = in
				plain, n, err = ours.Open(piece)
			}
			if n > len(piece) || len(plain) > n {
				t.Fatalf("%d bytes taken of %d, %d plain", n, len(piece), len(plain))
			}
			if err != nil && !errors.Is(err, io.EOF) {
				if end := ours.End(nil, err); len(end) > 0 && len(end) < 20 {
					t.Fatalf("an end of %d bytes", len(end))
				}
				return
			}
			if n == 0 {
				return
			}
			in = in[n:]
			again, err := record.Parse(ours.AppendBinary(nil))
			if err != nil {
				t.Fatalf("the state cannot be read: %v", err)
			}
			ours = again
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, of := range every {
		f.Add(fixed(f, of.version, of.suite, true).AppendBinary(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := record.Parse(b)
		if err != nil {
			return
		}
		if again := s.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Errorf("read %x, wrote %x", b, again)
		}
		_, _, _ = s.Open(s.Seal(nil, []byte("x")))
	})
}

// TestEverySuiteTalks covers the suites of TLS 1.3 that crypto/tls cannot be made to choose, against ourselves; other
// implementations meet them in openssl_test.go.
func TestEverySuiteTalks(t *testing.T) {
	for _, of := range every {
		client, server := fixed(t, of.version, of.suite, false), fixed(t, of.version, of.suite, true)
		for _, n := range []int{1, record.MaxPlain} {
			what := noise(n)
			if got, _, err := server.Open(client.Seal(nil, what)); err != nil || !bytes.Equal(got, what) {
				t.Errorf("%v: %d bytes: %v", client, n, err)
			}
		}
	}
}

func TestDamagedStates(t *testing.T) {
	good := fixed(t, tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, true).AppendBinary(nil)
	for n := range good {
		if _, err := record.Parse(good[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(good))
		}
	}
	if _, err := record.Parse(append(bytes.Clone(good), 0)); err == nil {
		t.Error("a byte too many was accepted")
	}
	if _, err := record.New(record.Secrets{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256}); err == nil {
		t.Error("secrets of no bytes were accepted")
	}
	if _, err := record.New(record.Secrets{Version: tls.VersionTLS11, Suite: tls.TLS_AES_128_GCM_SHA256}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}
