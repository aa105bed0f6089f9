package record_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	record "github.com/axlemesh/axle/sidecar/codec/tls"
)

// noise is n bytes that are the same each time.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

func TestAgainstCryptoTLS(t *testing.T) {
	for name, m := range modes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := connect(t, m)
			for _, n := range []int{1, 100, 16 << 10, 16<<10 + 1, 300_000} {
				l.talk(noise(n))
			}
			if err := l.peer.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := l.receive(1); !errors.Is(err, io.EOF) || len(got) > 0 {
				t.Errorf("behind close_notify: %d bytes, %v; want EOF", len(got), err)
			}
			last := l.session.End(l.session.Seal(nil, []byte("bye")), nil)
			if again := l.session.End(l.session.Seal(nil, []byte("more")), nil); len(again) > 0 {
				t.Errorf("%d bytes behind the end", len(again))
			}
			_, _ = l.raw.Write(last)
			if got, err := io.ReadAll(l.peer); err != nil || string(got) != "bye" {
				t.Errorf("the peer read %q, %v", got, err)
			}
		})
	}
}

// TestTheStateMovesAtEveryByte parses the session anew before every byte of what the peer sends, and after every record of
// our own.
func TestTheStateMovesAtEveryByte(t *testing.T) {
	for name, m := range modes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := connect(t, m)
			what := noise(700)
			go func() {
				for _, piece := range [][]byte{what[:1], what[1:600], what[600:]} {
					_, _ = l.peer.Write(piece)
				}
				_ = l.peer.CloseWrite()
			}()
			var got []byte
			for in := l.in; ; {
				l.move()
				plain, n, err := l.session.Open(in)
				got, in = append(got, plain...), in[n:]
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					b := make([]byte, 1)
					if _, err := l.raw.Read(b); err != nil {
						t.Fatal(err)
					}
					in = append(in, b...)
				}
			}
			if !bytes.Equal(got, what) {
				t.Errorf("received %d bytes, want %d", len(got), len(what))
			}
			for i := range what {
				l.move()
				l.send(what[i : i+1])
			}
			if _, err := io.ReadFull(l.peer, got); err != nil || !bytes.Equal(got, what) {
				t.Errorf("the peer received others, %v", err)
			}
		})
	}
}

func (l *line) move() {
	l.t.Helper()
	s, err := record.Parse(l.session.AppendBinary(nil))
	if err != nil {
		l.t.Fatal(err)
	}
	l.session = s
}

func TestWhatWasTamperedWithIsRefused(t *testing.T) {
	for name, m := range modes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := connect(t, m)
			go func() { _, _ = l.peer.Write([]byte("attack at dawn")) }()
			for { // the tickets
				if _, n, _ := l.session.Open(bytes.Clone(l.in)); n == 0 {
					buf := make([]byte, 4096)
					n, err := l.raw.Read(buf)
					if err != nil {
						t.Fatal(err)
					}
					l.in = append(l.in, buf[:n]...)
				}
				before := l.session.AppendBinary(nil)
				plain, n, _ := l.session.Open(bytes.Clone(l.in))
				if len(plain) == 0 {
					l.in = l.in[n:]
					continue
				}
				everyFlip(t, before, l.in[:n])
				return
			}
		})
	}
}

// everyFlip opens a record with each of its bits turned, and every beginning of it.
func everyFlip(t *testing.T, state, good []byte) {
	t.Helper()
	open := func(b []byte) ([]byte, int, error) {
		s, err := record.Parse(state)
		if err != nil {
			t.Fatal(err)
		}
		return s.Open(b)
	}
	if plain, _, err := open(bytes.Clone(good)); err != nil || string(plain) != "attack at dawn" {
		t.Fatalf("the record itself: %q, %v", plain, err)
	}
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		plain, n, err := open(bad)
		waits := n == 0 && err == nil && (i/8 == 3 || i/8 == 4) // a longer record than is there
		if len(plain) > 0 || err == nil && !waits {
			t.Errorf("bit %d turned: %q, %v", i, plain, err)
		}
		if ours := (*record.Error)(nil); err != nil && !errors.As(err, &ours) {
			t.Errorf("bit %d turned: %v is nothing to tell the peer", i, err)
		}
	}
	for n := range good {
		if plain, size, err := open(bytes.Clone(good[:n])); len(plain) > 0 || size > 0 || err != nil {
			t.Errorf("the first %d bytes: %q, %d, %v", n, plain, size, err)
		}
	}
}

func TestARecordAllocatesNothing(t *testing.T) {
	for name, m := range modes() {
		t.Run(name, func(t *testing.T) {
			l := connect(t, m)
			there, back := pairOf(t, l.session)
			buf, what := make([]byte, 0, 64<<10), noise(20_000)
			if n := testing.AllocsPerRun(100, func() {
				b := there.Seal(buf, what)
				for len(b) > 0 {
					_, n, err := back.Open(b)
					if err != nil {
						t.Fatal(err)
					}
					b = b[n:]
				}
			}); n > 0 {
				t.Errorf("%v allocations for two records, want 0", n)
			}
		})
	}
}

// pairOf makes of one session both ends of a connection, by turning the state's directions around.
func pairOf(t testing.TB, s *record.Session) (a, b *record.Session) {
	t.Helper()
	state := s.AppendBinary(nil)
	const fixed = 32 // version, suite, flags, message, counters: see state.go
	turned := bytes.Clone(state)
	turned[5] ^= 1 // the server's flag
	copy(turned[16:], state[24:32])
	copy(turned[24:], state[16:24])
	half := (len(state) - fixed) / 2
	copy(turned[fixed:], state[fixed+half:])
	copy(turned[fixed+half:], state[fixed:fixed+half])
	var err error
	if a, err = record.Parse(state); err != nil {
		t.Fatal(err)
	}
	if b, err = record.Parse(turned); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestNothingPrintsASecret(t *testing.T) {
	l := connect(t, mode{version: record.VersionTLS13})
	state := l.session.AppendBinary(nil)
	secret := fmt.Sprintf("%x", state[32:40])
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{l.session, struct{ S *record.Session }{l.session}} {
			if text := fmt.Sprintf(verb, v); strings.Contains(strings.ToLower(text), secret) || !strings.Contains(text, "TLS 1.3") && verb != "%x" && verb != "%X" && verb != "%q" && len(text) > 60 {
				t.Errorf("%s prints %s", verb, text)
			}
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	for name, m := range modes() {
		for _, size := range []int{100, record.MaxPlain} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				there, back := pairOf(b, connect(b, m).session)
				buf, what := make([]byte, 0, 64<<10), noise(size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, _, err := back.Open(there.Seal(buf, what)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
