package http1

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrShort says that the bytes end inside the head. It is no fault.
var ErrShort = errors.New("head is not complete")

// FormatError is what no peer may send. After it nothing more can be read from the connection.
type FormatError struct {
	Status  int    // what to answer to a client: 400, 414, 431, 501 or 505; 502 when it was an endpoint
	What    string // a constant text
	Section string // of the RFC that decides it, for example "9112 5.1"
	Offset  int    // of the offending byte in the bytes that were given
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("http1: %s at offset %d (RFC %s): answer %d", e.What, e.Offset, e.Section, e.Status)
}

// Statuses of a FormatError.
const (
	statusBadRequest     = 400
	statusURITooLong     = 414
	statusFieldsTooLarge = 431
	statusNotImplemented = 501
	statusBadGateway     = 502
	statusVersion        = 505
)

// bad is the commonest fault: what the peer sent is not HTTP.
func bad(offset int, what, section string) *FormatError {
	return &FormatError{Status: statusBadRequest, What: what, Section: section, Offset: offset}
}

// Limits on what a peer may send. The zero value has the defaults.
type Limits struct {
	// Line is the longest request line or status line in bytes, 16 KiB by default. RFC 9112 section 3 asks for 8,000 at least.
	Line int
	// Head is the largest head in bytes, its first line and last CRLF included: by default and at most 65,535.
	Head int
	// Fields is the largest number of field lines, 256 by default.
	Fields int
}

const (
	defaultLine   = 16 << 10
	defaultFields = 256
	maxHead       = 1<<16 - 1 // offsets in the index are 16 bits wide
)

// More says whether b, whose first seen bytes were not enough for Decode, may be enough now: it has another line, or has
// reached a limit. A proxy that uses one Request for many connections starts over with every call; asking first bounds
// what a client can cost that sends a head byte by byte.
func (l Limits) More(b []byte, seen int) bool {
	return seen == 0 || seen < l.line() && len(b) >= l.line() || len(b) >= l.head() || bytes.IndexByte(b[seen:], '\n') >= 0
}

func (l Limits) line() int { return orDefault(l.Line, defaultLine) }

func (l Limits) head() int { return min(orDefault(l.Head, maxHead), maxHead) }

func (l Limits) fields() int { return orDefault(l.Fields, defaultFields) }

func orDefault(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}
