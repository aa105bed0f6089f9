package record

import (
	"fmt"
	"io"
)

// Alerts (RFC 8446 section 6).
const (
	alertCloseNotify         = 0
	alertUnexpectedMessage   = 10
	alertBadRecordMAC        = 20
	alertRecordOverflow      = 22
	alertBadCertificate      = 42
	alertIllegalParameter    = 47
	alertDecodeError         = 50
	alertProtocolVersion     = 70
	alertInternal            = 80
	alertUserCanceled        = 90
	alertNoRenegotiation     = 100
	levelWarning, levelFatal = 1, 2
)

// Error is why this side ends a connection. Its Alert is what the peer is told.
type Error struct {
	Alert  uint8
	Reason string
}

// Error says what was wrong.
func (e *Error) Error() string { return "TLS: " + e.Reason }

// Untrusted is the Error of a peer whose certificate is not good, or not any more.
func Untrusted(why error) *Error { return &Error{Alert: alertBadCertificate, Reason: why.Error()} }

// AlertError is what the peer said when it ended the connection.
type AlertError uint8

// Error names the alert by its number (IANA's TLS Alerts registry).
func (e AlertError) Error() string {
	return fmt.Sprintf("TLS: the peer ended the connection with alert %d", uint8(e))
}

// alertFor returns the alert that says why.
func alertFor(why error) (_ [2]byte, ok bool) {
	if why == nil {
		return [2]byte{levelWarning, alertCloseNotify}, true
	}
	if e, ours := why.(*Error); ours { //nolint:errorlint // a wrapped one is somebody else's
		return [2]byte{levelFatal, e.Alert}, true
	}
	return [2]byte{}, false
}

// alert takes an alert of the peer. All but two end the connection; TLS 1.2 has warnings besides.
func (s *Session) alert(b []byte) error {
	switch {
	case len(b) != 2:
		return &Error{Alert: alertDecodeError, Reason: fmt.Sprintf("an alert of %d bytes", len(b))}
	case b[1] == alertCloseNotify:
		s.ended = true
		return io.EOF
	case b[1] == alertUserCanceled, s.version == VersionTLS12 && b[0] == levelWarning:
		return nil
	}
	return AlertError(b[1])
}
