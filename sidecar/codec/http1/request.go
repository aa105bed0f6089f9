package http1

// maxMethod is the longest method that is forwarded. All registered ones are shorter.
const maxMethod = 32

// Request is the head of a request. One is used again and again; the zero value is ready.
type Request struct {
	Head
	Method []byte
	Target Target
	Body   Body // where the body behind the head ends
}

// Decode reads the head that b begins with, an empty line before it included. It returns the number of bytes of the
// head, ErrShort when b ends inside it, and a *FormatError when no client may send it. After ErrShort it is called again
// with the same bytes and more behind them, and goes on at the line where it stopped; Reset starts over.
func (r *Request) Decode(b []byte, limits Limits) (int, error) {
	if r.phase == phaseDone {
		r.Reset()
	}
	n, err := r.decode(b, limits)
	if err != ErrShort { //nolint:errorlint // our own, not wrapped
		r.phase = phaseDone
	}
	return n, err
}

// Reset drops a head of which a part was decoded, and the views of the last complete one.
func (r *Request) Reset() {
	r.Head.Reset()
	r.Method, r.Target, r.Body = nil, Target{}, Body{}
}

func (r *Request) decode(b []byte, limits Limits) (int, error) {
	if r.phase == phaseFirst {
		if err := r.line(b, limits); err != nil {
			return 0, err
		}
		r.phase = phaseFields
	}
	n, err := r.decodeFields(b, limits, false)
	if err != nil {
		return 0, err
	}
	return n, r.finish()
}

// requestLine is where the parts of a request line are.
type requestLine struct{ method, methodEnd, target, targetEnd, next int }

func (r *Request) line(b []byte, limits Limits) error {
	l, minor, err := splitRequestLine(b[:min(len(b), limits.line())])
	if err == ErrShort && len(b) >= limits.line() { //nolint:errorlint // our own, not wrapped
		err = &FormatError{statusURITooLong, "a request line beyond the limit", "9112 3", limits.line()}
	}
	if err != nil {
		return err
	}
	target, err := parseTarget(b[l.target:l.targetEnd], b[l.method:l.methodEnd], l.target)
	if err != nil {
		return err
	}
	r.minor, r.first, r.at = minor, l.next, l.next
	// The bytes may have moved by the time that the head is complete: only what does not point at them is kept.
	r.Target = Target{Form: target.Form, from: l.target, to: l.targetEnd, methodFrom: l.method, methodTo: l.methodEnd}
	return nil
}

// splitRequestLine reads method SP request-target SP HTTP-version CRLF (RFC 9112 section 3).
func splitRequestLine(b []byte) (l requestLine, minor uint8, err error) {
	if len(b) > 0 && b[0] == '\r' { // behind a body that an old client ended with an empty line (RFC 9112 section 2.2)
		if l.method, err = newline(b, 0); err != nil {
			return l, 0, err
		}
	}
	l.methodEnd = span(b[:min(len(b), l.method+maxMethod+1)], l.method, classToken)
	switch {
	case l.methodEnd-l.method > maxMethod:
		return l, 0, &FormatError{statusNotImplemented, "a method longer than any", "9112 3", l.methodEnd}
	case l.methodEnd == len(b):
		return l, 0, ErrShort
	case b[l.methodEnd] != ' ' || l.methodEnd == l.method:
		return l, 0, bad(l.methodEnd, "no method and space", "9112 3")
	}
	l.target = l.methodEnd + 1
	l.targetEnd = span(b, l.target, classTarget)
	switch {
	case l.targetEnd == len(b):
		return l, 0, ErrShort
	case b[l.targetEnd] != ' ' || l.targetEnd == l.target:
		return l, 0, bad(l.targetEnd, "no request target and space", "9112 3.2")
	}
	minor, end, err := version(b, l.targetEnd+1)
	switch {
	case err != nil:
		return l, 0, err
	case end == len(b):
		return l, 0, ErrShort
	case b[end] >= ' ':
		return l, 0, bad(end, "something behind the HTTP version", "9112 3")
	}
	l.next, err = newline(b, end)
	return l, minor, err
}

// finish judges the complete head.
func (r *Request) finish() error {
	end := len(r.raw) - 2
	r.Method = r.raw[r.Target.methodFrom:r.Target.methodTo]
	from := r.Target.from
	target, err := parseTarget(r.raw[from:r.Target.to], r.Method, from)
	if err != nil {
		return err
	}
	r.Target = target
	if err := r.host(end); err != nil {
		return err
	}
	if err := r.codings(end); err != nil {
		return err
	}
	if r.Target.Form == Authority && (r.has(factTransfer) || r.has(factLength)) {
		return bad(end, "CONNECT with a body", "9110 9.3.6")
	}
	switch {
	case r.has(factTransfer):
		r.Body = Body{kind: Chunked}
	case r.length > 0:
		r.Body = Body{kind: Length, left: r.length}
	}
	return nil
}

// host checks the Host field and takes the authority from it unless the target has one (RFC 9112 sections 3.2 and 3.3).
func (r *Request) host(end int) error {
	if !r.has(factHost) {
		if r.minor >= 1 {
			return bad(end, "no Host", "9112 3.2")
		}
		return nil
	}
	var f *field
	for i := range r.index.n {
		if f = r.index.at(i); f.id == idHost {
			break
		}
	}
	value := r.raw[f.value:f.valueEnd]
	if len(value) > 0 {
		if _, ok := splitAuthority(value); !ok {
			return bad(int(f.value), "a Host that is no host and port", "9112 3.2")
		}
	}
	r.Target.hostDiffers = len(r.Target.Authority) > 0 && string(r.Target.Authority) != string(value)
	if len(r.Target.Authority) == 0 {
		r.Target.Authority = value
	}
	return nil
}

// Continues says that the client waits for 100 Continue before it sends the body. An HTTP/1.0 client never does (RFC
// 9110 section 10.1.1).
func (r *Request) Continues() bool { return r.minor >= 1 && r.has(factContinue) && !r.Body.Done() }

// H2C returns the settings that come with an offer to go on in HTTP/2 on this connection, in base64url (RFC 7540 section 3.2);
// ok is false when there is no offer, or one that must not be taken.
func (r *Request) H2C() (settings []byte, ok bool) {
	if r.minor < 1 || !r.has(factH2C) || !r.has(factUpgradeOption) || r.Target.Form == Authority {
		return nil, false
	}
	settings, ok, more := r.Values("HTTP2-Settings")
	return settings, ok && !more && r.Listed("Connection", "http2-settings")
}

// Exchange returns what has to be known of this request until its response is complete.
func (r *Request) Exchange() Exchange {
	return Exchange{
		Head:      string(r.Method) == "HEAD",
		Connect:   r.Target.Form == Authority,
		Upgrade:   r.upgrades(),
		KeepAlive: r.persistent(),
		Minor:     r.minor,
	}
}

// Exchange is what of a request has to be known until its response is complete. It is plain data; see AppendBinary.
type Exchange struct {
	Head      bool  // the response has no body
	Connect   bool  // a response of 2xx makes the connection a tunnel
	Upgrade   bool  // a response of 101 does
	KeepAlive bool  // the client may send another request on this connection; clear it to close behind the response
	Minor     uint8 // the client's version is HTTP/1.Minor
}

// MaxForwards returns how many more intermediaries may forward a TRACE or OPTIONS; ok is false when there is no limit.
// At 0 it must be answered here (RFC 9110 section 7.6.2).
func (r *Request) MaxForwards() (n uint64, ok bool) {
	if !r.has(factMaxForwards) || string(r.Method) != "TRACE" && string(r.Method) != "OPTIONS" {
		return 0, false
	}
	value, _ := r.Value("max-forwards")
	return decimal(value)
}
