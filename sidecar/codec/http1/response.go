package http1

import "errors"

// Response is the head of a response. One is used again and again; the zero value is ready.
type Response struct {
	Head
	Status int
	Reason []byte
	Body   Body // where the body behind the head ends

	reason, reasonEnd int
}

// Decode reads the head of a response to x that b begins with, like [Request.Decode]. A *FormatError has the status 502:
// that is what the client is answered.
func (r *Response) Decode(b []byte, limits Limits, x Exchange) (int, error) {
	if r.phase == phaseDone {
		r.Reset()
	}
	n, err := r.decode(b, limits, x)
	if err == ErrShort { //nolint:errorlint // our own, not wrapped
		return 0, err
	}
	r.phase = phaseDone
	if format, ok := errors.AsType[*FormatError](err); ok {
		format.Status = statusBadGateway
	}
	return n, err
}

// Reset drops a head of which a part was decoded, and the views of the last complete one.
func (r *Response) Reset() {
	r.Head.Reset()
	r.Status, r.Reason, r.Body, r.reason, r.reasonEnd = 0, nil, Body{}, 0, 0
}

func (r *Response) decode(b []byte, limits Limits, x Exchange) (int, error) {
	if r.phase == phaseFirst {
		err := r.line(b[:min(len(b), limits.line())])
		if err == ErrShort && len(b) >= limits.line() { //nolint:errorlint // our own, not wrapped
			err = bad(limits.line(), "a status line beyond the limit", "9112 4")
		}
		if err != nil {
			return 0, err
		}
		r.phase = phaseFields
	}
	n, err := r.decodeFields(b, limits, true)
	if err != nil {
		return 0, err
	}
	r.Reason = r.raw[r.reason:r.reasonEnd]
	if err := r.body(x); err != nil {
		return 0, err
	}
	return n, nil
}

// line reads HTTP-version SP status-code SP [ reason-phrase ] CRLF (RFC 9112 section 4). The second space may be missing
// when there is no reason: endpoints do that.
func (r *Response) line(b []byte) error {
	minor, at, err := version(b, 0)
	if err != nil {
		return err
	}
	status := 0
	for i := range 5 {
		if at+i == len(b) {
			return ErrShort
		}
		c := b[at+i]
		switch {
		case i == 0 && c != ' ', i > 0 && i < 4 && !is(c, classDigit), i == 4 && c != ' ' && c != '\r':
			return bad(at+i, "no status code of three digits", "9112 4")
		case i > 0 && i < 4:
			status = status*10 + int(c-'0')
		}
	}
	if status < 100 {
		return bad(at+1, "a status code below 100", "9110 15")
	}
	at += 4
	r.reason = at
	if b[at] == ' ' {
		r.reason++
	}
	for at = control(b, r.reason); at < len(b) && b[at] == '\t'; {
		at = control(b, at+1)
	}
	if at == len(b) {
		return ErrShort
	}
	next, err := newline(b, at)
	if err != nil {
		return err
	}
	r.minor, r.Status, r.reasonEnd, r.first, r.at = minor, status, at, next, next
	return nil
}

// body decides where the body ends, in the order of RFC 9112 section 6.3.
func (r *Response) body(x Exchange) error {
	end := len(r.raw) - 2
	switch {
	case r.Status == 101 && !x.Upgrade:
		return bad(0, "a change of protocol that nobody asked for", "9110 15.2.2")
	case r.Status == 101, x.Connect && r.Status/100 == 2:
		r.Body = Body{kind: Tunnel}
		return nil
	case r.Status/100 == 1, r.Status == 204:
		return nil
	}
	if err := r.codings(end); err != nil {
		return err
	}
	switch {
	case x.Head, r.Status == 304:
	case r.has(factTransfer):
		r.Body = Body{kind: Chunked}
	case !r.has(factLength):
		r.Body = Body{kind: Close}
	case r.length > 0:
		r.Body = Body{kind: Length, left: r.length}
	}
	return nil
}

// Interim says that the final response is still to come, behind this head.
func (r *Response) Interim() bool { return r.Status/100 == 1 && r.Status != 101 }

// Reusable says that the endpoint's connection may carry another request once the body is complete.
func (r *Response) Reusable() bool {
	return r.persistent() && r.Body.kind != Close && r.Body.kind != Tunnel
}
