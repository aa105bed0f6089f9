package record

import (
	"crypto/fips140"
	"encoding/binary"
	"errors"
	"fmt"
)

// Secrets are what a handshake leaves to the records behind it.
type Secrets struct {
	Version, Suite uint16
	// Server says that this side was the handshake's server.
	Server bool
	// ClientTraffic and ServerTraffic are the application traffic secrets of TLS 1.3.
	ClientTraffic, ServerTraffic []byte
	// Master secret and randoms of TLS 1.2.
	Master, ClientRandom, ServerRandom []byte
	// Read and Written are how many records each side's key has protected already.
	Read, Written uint64
}

// New makes a session that goes on where a handshake ended.
func New(x Secrets) (*Session, error) {
	s := &Session{version: x.Version, server: x.Server, suite: suiteOf(x.Version, x.Suite)}
	if s.suite == nil {
		return nil, fmt.Errorf("make a TLS session: version %#x with suite %#x is not known", x.Version, x.Suite)
	}
	client, server := x.ClientTraffic, x.ServerTraffic
	if x.Version == VersionTLS12 {
		client, server = s.suite.keyBlock(x.Master, x.ClientRandom, x.ServerRandom)
	}
	in, out := server, client
	if x.Server {
		in, out = client, server
	}
	if err := s.key(in, out, x.Read, x.Written); err != nil {
		return nil, fmt.Errorf("make a TLS session: %w", err)
	}
	return s, nil
}

// ErrFIPS is why there are no sessions in that mode: AEADs may be used there by crypto/tls only, which chooses the nonces.
var ErrFIPS = errors.New("TLS records are not possible with GODEBUG=fips140=only: AES-GCM and ChaCha20-Poly1305 are kept for crypto/tls")

func (s *Session) key(in, out []byte, read, written uint64) error {
	if fips140.Enforced() {
		return ErrFIPS
	}
	want := s.suite.secretLen(s.version)
	if len(in) != want || len(out) != want {
		return fmt.Errorf("secrets of %d and %d bytes, %s needs %d", len(in), len(out), s, want)
	}
	s.in.suite, s.out.suite = s.suite, s.suite
	if err := errors.Join(s.in.use(s.version, in), s.out.use(s.version, out)); err != nil {
		return err
	}
	s.in.seq, s.out.seq = read, written
	return nil
}

// stateVersion is the first byte of a state.
const stateVersion = 1

// Flags of a state.
const (
	flagServer = 1 << iota
	flagOwes
	flagEnded
	flagClosed
	flagsEnd
)

// AppendBinary appends everything that another process needs to carry on behind the last record that was opened or sealed.
// It contains keys: it goes to that process and nowhere else.
func (s *Session) AppendBinary(b []byte) []byte {
	flags := byte(0)
	for i, on := range []bool{s.server, s.owes, s.ended, s.closed} {
		if on {
			flags |= 1 << i
		}
	}
	b = append(b, stateVersion)
	b = binary.BigEndian.AppendUint16(b, s.version)
	b = binary.BigEndian.AppendUint16(b, s.suite.id)
	b = append(b, flags, s.idle, s.post.have)
	b = append(b, s.post.head[:]...)
	b = binary.BigEndian.AppendUint32(b, s.post.left)
	b = binary.BigEndian.AppendUint64(b, s.in.seq)
	b = binary.BigEndian.AppendUint64(b, s.out.seq)
	return append(append(b, s.in.secret...), s.out.secret...)
}

// stateLen is the length of a state without its secrets.
const stateLen = 1 + 2 + 2 + 3 + messageHeader + 4 + 8 + 8

var errState = errors.New("a TLS session's state is damaged")

// Parse reads what AppendBinary has written, all of b. It keeps nothing of b.
func Parse(b []byte) (*Session, error) {
	if len(b) < stateLen {
		return nil, errState
	}
	if b[0] != stateVersion {
		return nil, fmt.Errorf("a TLS session's state has version %d, this build reads %d", b[0], stateVersion)
	}
	s := &Session{version: binary.BigEndian.Uint16(b[1:])}
	if s.suite = suiteOf(s.version, binary.BigEndian.Uint16(b[3:])); s.suite == nil {
		return nil, errState
	}
	flags := b[5]
	s.server, s.owes, s.ended, s.closed = flags&flagServer > 0, flags&flagOwes > 0, flags&flagEnded > 0, flags&flagClosed > 0
	s.idle, s.post.have = b[6], b[7]
	copy(s.post.head[:], b[8:])
	s.post.left = binary.BigEndian.Uint32(b[12:])
	secret := s.suite.secretLen(s.version)
	if len(b) != stateLen+2*secret || flags >= flagsEnd || !s.sound() {
		return nil, errState
	}
	read, written := binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:])
	secrets := append([]byte(nil), b[stateLen:]...)
	if err := s.key(secrets[:secret:secret], secrets[secret:], read, written); err != nil {
		return nil, fmt.Errorf("read a TLS session's state: %w", err)
	}
	return s, nil
}

// sound refuses counts that no session reaches.
func (s *Session) sound() bool {
	m := &s.post
	switch {
	case s.idle > maxIdle || m.have > messageHeader || s.version == VersionTLS12 && (m.have > 0 || s.owes):
		return false
	case m.have < messageHeader:
		return m.left == 0
	}
	return m.left > 0 && m.left <= uint32(m.head[1])<<16|uint32(m.head[2])<<8|uint32(m.head[3]) && s.expected(m.head[0], m.left) == nil
}
