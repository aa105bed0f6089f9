package handshake

import (
	"bytes"
	"encoding/hex"
	"fmt"

	record "github.com/axlemesh/axle/sidecar/codec/tls"
)

// keyLog takes what crypto/tls tells about one connection's secrets, a line at a time: a label, the client's random, and
// the secret, in hexadecimal (the SSLKEYLOGFILE format, RFC 9850).
type keyLog struct{ secrets record.Secrets }

// Write takes one line. It keeps what records are protected with.
func (k *keyLog) Write(line []byte) (int, error) {
	fields := bytes.Fields(line)
	if len(fields) != 3 {
		return 0, fmt.Errorf("a key log line of %d fields", len(fields))
	}
	var to *[]byte
	switch string(fields[0]) {
	case "CLIENT_RANDOM":
		to = &k.secrets.Master
	case "CLIENT_TRAFFIC_SECRET_0":
		to = &k.secrets.ClientTraffic
	case "SERVER_TRAFFIC_SECRET_0":
		to = &k.secrets.ServerTraffic
	default:
		return len(line), nil // those of the handshake itself
	}
	secret := make([]byte, hex.DecodedLen(len(fields[2])))
	if _, err := hex.Decode(secret, fields[2]); err != nil {
		return 0, fmt.Errorf("a key log line that is not hexadecimal: %w", err)
	}
	*to = secret
	return len(line), nil
}
