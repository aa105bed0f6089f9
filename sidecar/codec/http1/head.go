package http1

import "github.com/axlemesh/axle/sidecar/codec/change"

// Head is what requests and responses have in common: the first line's version, the fields, and what they say about this
// connection. What it returns are views into the bytes that were decoded, valid until those change.
type Head struct {
	raw    []byte // the head, once it is complete
	index  fields
	first  int // where the fields begin
	at     int // where decoding goes on
	phase  phase
	minor  uint8
	length uint64
	facts  fact
	edits  []change.Field
}

type phase uint8

const (
	phaseFirst phase = iota // in the first line
	phaseFields
	phaseDone // complete or refused: the next call begins a new head
)

// fact is one thing that the fields say.
type fact uint32

const (
	factLength        fact = 1 << iota // there is a Content-Length
	factChunked                        // the last transfer coding is chunked
	factCoding                         // there is a transfer coding besides chunked, or a faulty list of them
	factTransfer                       // there is a Transfer-Encoding
	factHost                           //
	factClose                          // connection option
	factKeepAlive                      // connection option
	factUpgradeOption                  // connection option
	factOtherOption                    // a connection option that names a field, which must be removed
	factUpgrade                        // there is an Upgrade, and none of its protocols is h2c
	factH2C                            // an Upgrade names h2c
	factTrailers                       // TE: trailers
	factContinue                       // Expect: 100-continue
	factForwardedFor                   //
	factMaxForwards                    //
)

func (h *Head) has(f fact) bool { return h.facts&f != 0 }

// Minor is the minor version of HTTP/1. What is above 1 counts as 1 (RFC 9110 section 2.5).
func (h *Head) Minor() int { return int(h.minor) }

// Len is the number of fields.
func (h *Head) Len() int { return h.index.n }

// Field returns a field, in the order of the message.
func (h *Head) Field(i int) (name, value []byte) {
	f := h.index.at(i)
	return h.raw[f.name:f.nameEnd], h.raw[f.value:f.valueEnd]
}

// Value returns the value of the first field of that name, whatever its case.
func (h *Head) Value(name string) (value []byte, ok bool) {
	for i := range h.index.n {
		f := h.index.at(i)
		if int(f.nameEnd-f.name) == len(name) && foldAny(h.raw[f.name:f.nameEnd], name) {
			return h.raw[f.value:f.valueEnd], true
		}
	}
	return nil, false
}

// Values is Value for a field that may be there several times: more says that it is, and AppendValues has all of them.
func (h *Head) Values(name string) (value []byte, ok, more bool) {
	for i := range h.index.n {
		f := h.index.at(i)
		if int(f.nameEnd-f.name) != len(name) || !foldAny(h.raw[f.name:f.nameEnd], name) {
			continue
		}
		if ok {
			return value, true, true
		}
		value, ok = h.raw[f.value:f.valueEnd], true
	}
	return value, ok, false
}

// AppendValues appends the values of all fields of that name, with ", " between them (RFC 9110 section 5.3).
func (h *Head) AppendValues(dst []byte, name string) []byte {
	first := true
	for i := range h.index.n {
		f := h.index.at(i)
		if int(f.nameEnd-f.name) != len(name) || !foldAny(h.raw[f.name:f.nameEnd], name) {
			continue
		}
		if !first {
			dst = append(dst, ", "...)
		}
		dst = append(dst, h.raw[f.value:f.valueEnd]...)
		first = false
	}
	return dst
}

// Listed says that a field of that name, whose value is a comma-separated list, has this member. Members are compared
// without regard to case.
func (h *Head) Listed(name, lower string) bool {
	for i := range h.index.n {
		f := h.index.at(i)
		if int(f.nameEnd-f.name) != len(name) || !foldAny(h.raw[f.name:f.nameEnd], name) {
			continue
		}
		list := h.raw[f.value:f.valueEnd]
		for m, rest, ok := member(list); ok; m, rest, ok = member(rest) {
			if fold(m, lower) {
				return true
			}
		}
	}
	return false
}

// Reset drops a head of which a part was decoded, and the view of the last complete one.
func (h *Head) Reset() {
	h.raw, h.index.n, h.first, h.at, h.phase, h.minor, h.length, h.facts, h.edits = nil, 0, 0, 0, phaseFirst, 0, 0, 0, nil
}

// decodeFields reads field lines from where it stopped last. It returns the head's length.
func (h *Head) decodeFields(b []byte, limits Limits, lenient bool) (int, error) {
	window := b[:min(len(b), limits.head())]
	for {
		f, next, end, err := line(window, h.at, h.at == h.first, lenient)
		if err == ErrShort && len(b) >= limits.head() { //nolint:errorlint // our own, not wrapped
			err = &FormatError{statusFieldsTooLarge, "a head beyond the limit", "6585 5", len(window)}
		}
		if err != nil {
			return 0, err
		}
		if end {
			h.raw, h.at = b[:next:next], next
			return next, nil
		}
		if h.index.n == limits.fields() {
			return 0, &FormatError{statusFieldsTooLarge, "more fields than the limit", "6585 5", h.at}
		}
		if err := h.note(f, b[f.value:f.valueEnd]); err != nil {
			return 0, err
		}
		h.index.add(f)
		h.at = next
	}
}

// note takes what a field says about framing and the connection.
func (h *Head) note(f field, value []byte) error {
	at := int(f.value)
	switch f.id {
	case idContentLength:
		n, ok := decimal(value)
		switch {
		case !ok:
			return bad(at, "a Content-Length that is no number", "9112 6.3")
		case h.has(factLength):
			return bad(at, "a second Content-Length", "9110 8.6")
		}
		h.length = n
		h.facts |= factLength
	case idTransferEncoding:
		return h.noteCodings(value, at)
	case idHost:
		if h.has(factHost) {
			return bad(at, "a second Host", "9112 3.2")
		}
		h.facts |= factHost
	case idMaxForwards:
		h.facts |= factMaxForwards
	case idForwardedFor:
		h.facts |= factForwardedFor
	case idExpect:
		if fold(value, "100-continue") {
			h.facts |= factContinue
		}
	case idConnection, idUpgrade, idTE:
		h.noteOptions(f.id, value)
	}
	return nil
}

// noteCodings reads a list of transfer codings. That there are others than chunked is judged later, when all are known.
func (h *Head) noteCodings(value []byte, at int) error {
	h.facts |= factTransfer
	for m, rest, ok := member(value); ok; m, rest, ok = member(rest) {
		switch {
		case !fold(m, "chunked"):
			if h.has(factChunked) {
				return bad(at, "a transfer coding after chunked", "9112 6.3")
			}
			h.facts |= factCoding
		case h.has(factChunked):
			return bad(at, "chunked twice", "9112 6.1")
		default:
			h.facts |= factChunked
		}
	}
	return nil
}

func (h *Head) noteOptions(id id, value []byte) {
	for m, rest, ok := member(value); ok; m, rest, ok = member(rest) {
		switch {
		case id == idTE:
			if fold(m, "trailers") {
				h.facts |= factTrailers
			}
		case id == idUpgrade && fold(m, "h2c"):
			h.facts |= factH2C
		case id == idUpgrade:
			h.facts |= factUpgrade
		case fold(m, "close"):
			h.facts |= factClose
		case fold(m, "keep-alive"):
			h.facts |= factKeepAlive
		case fold(m, "upgrade"):
			h.facts |= factUpgradeOption
		case fold(m, "te"):
		default:
			h.facts |= factOtherOption
		}
	}
}

// codings judges what both kinds of messages refuse.
func (h *Head) codings(end int) error {
	switch {
	case !h.has(factTransfer):
		return nil
	case h.minor == 0:
		return bad(end, "Transfer-Encoding in HTTP/1.0", "9112 6.1")
	case h.has(factLength):
		return bad(end, "Transfer-Encoding and Content-Length", "9112 6.1")
	case !h.has(factChunked):
		return bad(end, "a Transfer-Encoding that does not end with chunked", "9112 6.3")
	case h.has(factCoding):
		return &FormatError{statusNotImplemented, "a transfer coding other than chunked", "9112 6.1", end}
	}
	return nil
}

// persistent says that the peer does not want the connection closed behind this message (RFC 9112 section 9.3).
func (h *Head) persistent() bool {
	if h.has(factClose) {
		return false
	}
	return h.minor >= 1 || h.has(factKeepAlive)
}

// upgrades says that the fields offer, or agree to, a protocol that may be forwarded. h2c would carry further requests
// past every rule and is obsolete (RFC 9113 section 3.1).
func (h *Head) upgrades() bool {
	return h.minor >= 1 && h.has(factUpgrade) && h.has(factUpgradeOption) && !h.has(factH2C)
}

// version reads "HTTP/1.x" at b[at]; next is behind it.
func version(b []byte, at int) (minor uint8, next int, err error) {
	const name = "HTTP/"
	for i := range len(name) + 3 {
		if at+i == len(b) {
			return 0, 0, ErrShort
		}
		c := b[at+i]
		ok := is(c, classDigit)
		switch {
		case i < len(name):
			ok = c == name[i]
		case i == len(name)+1:
			ok = c == '.'
		}
		if !ok {
			return 0, 0, bad(at+i, "no HTTP version", "9112 2.3")
		}
	}
	if b[at+len(name)] != '1' {
		return 0, 0, &FormatError{statusVersion, "a major version other than 1", "9110 15.6.6", at + len(name)}
	}
	return min(b[at+len(name)+2]-'0', 1), at + len(name) + 3, nil
}
