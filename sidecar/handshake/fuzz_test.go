package handshake

import (
	"bytes"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// FuzzVerify reads a chain as a handover brings it: what is trusted is what the authority has signed, to the byte.
func FuzzVerify(f *testing.F) {
	i := newIssuer(f)
	c := i.demanding(func(b *config.TLS) { b.Peers = []string{"spiffe://m/*", "web.test"} })
	good := i.named(time.Now().Add(-time.Minute), []string{"web.test"}, []string{"spiffe://m/a"}, nil).Raw
	f.Add(good, []byte(nil))
	f.Add(good, i.cert.Raw)
	f.Add(i.cert.Raw, good)
	f.Fuzz(func(t *testing.T, leaf, next []byte) {
		for _, chain := range [][][]byte{{leaf}, {leaf, next}} {
			if err := c.Verify(chain); err == nil && !bytes.Equal(leaf, good) {
				t.Errorf("a forged certificate is trusted: %x", leaf)
			} else if err != nil && err.Error() == "" {
				t.Error("a refusal without a reason")
			}
		}
	})
}

// FuzzHello: a random is the same however its message arrives, and nothing behind it is kept.
func FuzzHello(f *testing.F) {
	message := append([]byte{1, 0, 0, 34, 3, 3}, bytes.Repeat([]byte("r"), 32)...)
	f.Add(recordOf(22, message), uint8(1))
	f.Add(append(recordOf(22, message[:7]), recordOf(22, message[7:])...), uint8(9))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		var whole, cut hello
		whole.see(b)
		for rest := b; len(rest) > 0; {
			n := min(int(step)+1, len(rest))
			cut.see(rest[:n])
			rest = rest[n:]
		}
		if !bytes.Equal(whole.random(), cut.random()) || !bytes.Equal(whole.message, cut.message) {
			t.Errorf("%x in one piece, %x in pieces", whole.message, cut.message)
		}
		if len(whole.message) > randomEnd || len(whole.header) > 5 {
			t.Errorf("%d and %d bytes are kept", len(whole.message), len(whole.header))
		}
	})
}
