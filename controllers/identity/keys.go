// Package identity makes and checks the credentials of sidecars: join tokens, bearers and handover keys.
//
// All three are HMAC-SHA256 under keys that only the operator's replicas know. A token is text:
//
//	KIND "." BASE64URL(payload) "." BASE64URL(mac)
//
// KIND is "axj1" for a join token and "axb1" for a bearer, payload is JSON (see Join and Bearer), base64url has no
// padding, and mac = HMAC-SHA256(key, KIND "." BASE64URL(payload)). The kind is under the mac, so that one sort of token never passes
// as another. Nothing here does I/O; secret.go alone talks to Kubernetes.
package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// KeySize of a signing key, in bytes.
const KeySize = 32

// maxToken bounds what a peer may send; the longest legal token is far below it.
const maxToken = 4096

// Errors that a caller answers differently; every error of this package wraps one of them.
var (
	// ErrMalformed means that the text is no token of that kind.
	ErrMalformed = errors.New("malformed token")
	// ErrSignature means that no key of this operator signed it.
	ErrSignature = errors.New("token is not signed by this operator")
	// ErrExpired means that it was good once.
	ErrExpired = errors.New("token has expired")
)

// Keys sign and check. Current signs; both check, so that a rotation invalidates nothing at once.
type Keys struct {
	Current  []byte
	Previous []byte
}

// NewKeys draws a current key from random.
func NewKeys(random io.Reader) (Keys, error) {
	key := make([]byte, KeySize)
	if _, err := io.ReadFull(random, key); err != nil {
		return Keys{}, fmt.Errorf("draw a signing key: %w", err)
	}
	return Keys{Current: key}, nil
}

// Validate reports keys that must not be used.
func (k Keys) Validate() error {
	var errs []error
	if len(k.Current) < KeySize {
		errs = append(errs, fmt.Errorf("current key has %d bytes, needs %d", len(k.Current), KeySize))
	}
	if n := len(k.Previous); n != 0 && n < KeySize {
		errs = append(errs, fmt.Errorf("previous key has %d bytes, needs %d or none", n, KeySize))
	}
	return errors.Join(errs...)
}

// HandoverKey is the one-time key that generations from and to of a pod prove to each other:
// HMAC-SHA256(current, "handover|" podUID "|" from "|" to). Every replica computes the same one.
func (k Keys) HandoverKey(podUID string, from, to int64) []byte {
	m := hmac.New(sha256.New, k.Current)
	m.Write([]byte("handover|" + podUID + "|" + strconv.FormatInt(from, 10) + "|" + strconv.FormatInt(to, 10)))
	return m.Sum(nil)
}

// sign renders payload as a token of this kind.
func (k Keys) sign(kind string, payload any) (string, error) {
	if err := k.Validate(); err != nil {
		return "", fmt.Errorf("sign %s: %w", kind, err)
	}
	raw, err := json.Marshal(payload)
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", kind, err)
	}
	body := kind + "." + base64.RawURLEncoding.EncodeToString(raw)
	return body + "." + base64.RawURLEncoding.EncodeToString(mac(k.Current, body)), nil
}

// open checks a token of this kind and reads its payload. It looks at the payload only after the signature.
func (k Keys) open(kind, token string, payload any) error {
	if len(token) > maxToken || strings.ContainsAny(token, "\r\n") { // the base64 decoder would skip line breaks
		return fmt.Errorf("%s: %w: %d bytes, perhaps with line breaks", kind, ErrMalformed, len(token))
	}
	rest, ok := strings.CutPrefix(token, kind+".")
	if !ok {
		return fmt.Errorf("%s: %w: it does not start with %q", kind, ErrMalformed, kind+".")
	}
	body, sum, ok := strings.Cut(rest, ".")
	if !ok {
		return fmt.Errorf("%s: %w: no signature", kind, ErrMalformed)
	}
	got, err := base64.RawURLEncoding.Strict().DecodeString(sum)
	if err != nil {
		return fmt.Errorf("%s: %w: signature: %w", kind, ErrMalformed, err)
	}
	if !k.signed(kind+"."+body, got) {
		return fmt.Errorf("%s: %w", kind, ErrSignature)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return fmt.Errorf("%s: %w: payload: %w", kind, ErrMalformed, err)
	}
	if err := json.Unmarshal(raw, payload); err != nil {
		return fmt.Errorf("%s: %w: payload: %w", kind, ErrMalformed, err)
	}
	return nil
}

func (k Keys) signed(body string, sum []byte) bool {
	if len(k.Current) >= KeySize && hmac.Equal(mac(k.Current, body), sum) {
		return true
	}
	return len(k.Previous) >= KeySize && hmac.Equal(mac(k.Previous, body), sum)
}

func mac(key []byte, body string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(body))
	return m.Sum(nil)
}

// unix renders an instant as the payloads carry it.
func unix(t time.Time) int64 { return t.Unix() }
