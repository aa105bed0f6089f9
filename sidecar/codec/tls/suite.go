package record

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// suite is what a record layer needs to know of a cipher suite.
type suite struct {
	id     uint16 // of IANA's registry
	name   string
	keyLen int
	hash   func() hash.Hash
	gcm    bool
}

const (
	aes128 = "AES-128-GCM"
	aes256 = "AES-256-GCM"
	chacha = "ChaCha20-Poly1305"
)

// suites13 are those of RFC 8446 appendix B.4, suites12 the ECDHE ones of RFC 5289 and RFC 7905.
var (
	suites13 = []suite{
		{0x1301, aes128, 16, sha256.New, true}, {0x1302, aes256, 32, sha512.New384, true}, {0x1303, chacha, 32, sha256.New, false},
	}
	suites12 = []suite{
		{0xC02B, aes128, 16, sha256.New, true}, {0xC02F, aes128, 16, sha256.New, true},
		{0xC02C, aes256, 32, sha512.New384, true}, {0xC030, aes256, 32, sha512.New384, true},
		{0xCCA8, chacha, 32, sha256.New, false}, {0xCCA9, chacha, 32, sha256.New, false},
	}
)

// Suites12 lists the suites of TLS 1.2 that a Session can carry on with.
func Suites12() []uint16 {
	ids := make([]uint16, len(suites12))
	for i := range suites12 {
		ids[i] = suites12[i].id
	}
	return ids
}

// suiteOf returns nil for what is not known.
func suiteOf(version, id uint16) *suite {
	all := suites12
	if version == VersionTLS13 {
		all = suites13
	}
	for i := range all {
		if all[i].id == id && (version == VersionTLS12 || version == VersionTLS13) {
			return &all[i]
		}
	}
	return nil
}

func (s *suite) aead(key []byte) (cipher.AEAD, error) {
	if !s.gcm {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// secretLen is the length of a half's secret.
func (s *suite) secretLen(version uint16) int {
	if version == VersionTLS13 {
		return s.hash().Size()
	}
	return s.keyLen + s.ivLen12()
}

func (s *suite) ivLen12() int {
	if s.gcm {
		return saltLen
	}
	return ivLen
}

// expand is HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
func (s *suite) expand(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(len(label)))
	info = append(append(info, label...), 0)
	out, err := hkdf.Expand(s.hash, secret, string(info), n)
	if err != nil {
		return make([]byte, n) // n is far below what HKDF allows
	}
	return out
}

// keyBlock derives the keys of both directions of TLS 1.2 from the master secret (RFC 5246 sections 5 and 6.3), each with
// its IV behind it.
func (s *suite) keyBlock(master, clientRandom, serverRandom []byte) (client, server []byte) {
	seed := append([]byte("key expansion"), serverRandom...)
	seed = append(seed, clientRandom...)
	iv := s.ivLen12()
	mac := hmac.New(s.hash, master)
	sum := func(parts ...[]byte) []byte {
		mac.Reset()
		for _, p := range parts {
			_, _ = mac.Write(p)
		}
		return mac.Sum(nil)
	}
	var block []byte
	for a := sum(seed); len(block) < 2*(s.keyLen+iv); a = sum(a) {
		block = append(block, sum(a, seed)...)
	}
	ivs := block[2*s.keyLen:]
	client = append(append(client, block[:s.keyLen]...), ivs[:iv]...)
	server = append(append(server, block[s.keyLen:2*s.keyLen]...), ivs[iv:2*iv]...)
	return client, server
}
