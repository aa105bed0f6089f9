package proxy

import (
	"bytes"
	"fmt"
)

// First bytes of endpoints that speak something else than their cluster is called in.
var (
	http1Greets = []byte("HTTP/1.")
	http2Greets = []byte{4, 0, 0, 0, 0, 0} // behind its length: SETTINGS, of the connection, which are no acknowledgement (RFC 9113 section 3.4)
	tlsAlerts   = []byte{21, 3}            // a record with an alert (RFC 8446 section 5.1)
)

const (
	speaksHTTP1 = "HTTP/1"
	speaksHTTP2 = "HTTP/2"
)

// foreign makes an error about b, what an endpoint has begun with, say what it speaks, where b shows that it is not as.
func foreign(b []byte, as string, why error) error {
	const length = 3 // of an HTTP/2 frame's own
	speaks := ""
	switch {
	case bytes.HasPrefix(b, http1Greets):
		speaks = speaksHTTP1
	case len(b) > length && bytes.HasPrefix(b[length:], http2Greets):
		speaks = speaksHTTP2
	case bytes.HasPrefix(b, tlsAlerts):
		speaks = "TLS"
	}
	if speaks == "" || speaks == as {
		return why
	}
	return fmt.Errorf("%w; the endpoint speaks %s", why, speaks)
}
