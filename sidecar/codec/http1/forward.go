package http1

import "strconv"

// Forward says what a forwarded head gets besides what RFC 9110 section 7.6 demands. The zero value adds nothing.
type Forward struct {
	Via  string // this intermediary's name: a Via field is added (section 7.6.3)
	For  string // the client's address: added to X-Forwarded-For
	Host string // for an HTTP/1.0 request that names no host
	// Authority is the Host instead of the target's; empty keeps that. A CONNECT keeps it in any case.
	Authority string
	Rewrite   Rewrite // of an origin or absolute form
	// Traceparent is the value of a field that is added (W3C Trace Context); empty for none.
	Traceparent string
}

// AppendForward appends the head as an endpoint gets it: in the origin form, as HTTP/1.1, without the fields that were for
// this connection only (RFC 9110 section 7.6.1), and with the Host that the target says. The body behind it goes as it
// came. Everything else keeps its bytes and its order. It belongs to a complete head.
func (r *Request) AppendForward(dst []byte, f *Forward) []byte {
	dst = append(append(dst, r.Method...), ' ')
	switch {
	case r.Target.Form == Authority:
		dst = append(dst, r.Target.Authority...)
	case f.Rewrite.With != "" && r.Target.Form != Asterisk:
		dst = f.Rewrite.Append(dst, r.Target.Path)
	case r.Target.Form != Absolute:
		dst = append(dst, r.Target.Path...)
	case len(r.Target.Path) == 0 && string(r.Method) == "OPTIONS": // RFC 9112 section 3.2.4
		dst = append(dst, '*')
	case len(r.Target.Path) == 0 || r.Target.Path[0] != '/':
		dst = append(append(dst, '/'), r.Target.Path...)
	default:
		dst = append(dst, r.Target.Path...)
	}
	dst = append(dst, " HTTP/1.1\r\n"...)
	drop := drops{connection: true}
	other := f.Authority != "" && r.Target.Form != Authority
	if drop.host = !r.has(factHost) || r.Target.hostDiffers || other; drop.host {
		dst = append(dst, "Host: "...)
		switch {
		case other:
			dst = append(dst, f.Authority...)
		case len(r.Target.Authority) > 0:
			dst = append(dst, r.Target.Authority...)
		default:
			dst = append(dst, f.Host...)
		}
		dst = append(dst, crlf...)
	}
	drop.forwardedFor = f.For != ""
	drop.expect = r.minor == 0 && r.has(factContinue)
	hops, limited := r.MaxForwards()
	drop.maxForwards = limited
	drop.upgrade = !r.upgrades()
	dst = r.appendFields(dst, &drop)
	if limited {
		dst = append(strconv.AppendUint(append(dst, "Max-Forwards: "...), max(hops, 1)-1, 10), crlf...)
	}
	if drop.forwardedFor {
		dst = append(append(r.appendList(append(dst, "X-Forwarded-For: "...), idForwardedFor), f.For...), crlf...)
	}
	if r.has(factTransfer) {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	if f.Traceparent != "" {
		dst = append(append(append(dst, "traceparent: "...), f.Traceparent...), crlf...)
	}
	dst = r.appendVia(dst, f.Via)
	switch trailers := r.has(factTrailers) && r.minor >= 1; {
	case trailers && !drop.upgrade:
		dst = append(dst, "TE: trailers\r\nConnection: te, upgrade\r\n"...)
	case trailers:
		dst = append(dst, "TE: trailers\r\nConnection: te\r\n"...)
	case !drop.upgrade:
		dst = append(dst, "Connection: upgrade\r\n"...)
	}
	return append(dst, crlf...)
}

const crlf = "\r\n"

// Delivery says how a response goes to the client of an exchange.
type Delivery struct {
	Drop   bool // not at all: an interim response that an HTTP/1.0 client would not understand
	Decode bool // the body without its chunked framing, which an HTTP/1.0 client would not understand: see [Body.Payload]
	Close  bool // the connection is closed behind the body
}

// Delivery decides it. A response that ends with the endpoint's connection ends the client's too.
func (r *Response) Delivery(x Exchange) Delivery {
	old := x.Minor == 0
	d := Delivery{Drop: old && r.Interim(), Decode: old && r.Body.kind == Chunked}
	d.Close = !r.Interim() && r.Body.kind != Tunnel && (!x.KeepAlive || r.Body.kind == Close || d.Decode)
	return d
}

// AppendForward appends the head as the client of x gets it; see [Request.AppendForward]. The body behind it goes as
// [Response.Delivery] says.
func (r *Response) AppendForward(dst []byte, x Exchange, via string) []byte {
	d := r.Delivery(x)
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(strconv.AppendInt(dst, int64(r.Status), 10), ' ')
	dst = append(append(dst, r.Reason...), crlf...)
	bodiless := r.Status/100 == 1 || r.Status == 204 || r.Body.kind == Tunnel
	upgrade := r.Status == 101 || r.Status == 426 && r.has(factUpgrade)
	dst = r.appendFields(dst, &drops{connection: true, upgrade: !upgrade, length: bodiless})
	if r.has(factTransfer) && !bodiless && x.Minor >= 1 {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	dst = r.appendVia(dst, via)
	switch {
	case upgrade && d.Close:
		dst = append(dst, "Connection: upgrade, close\r\n"...)
	case upgrade:
		dst = append(dst, "Connection: upgrade\r\n"...)
	case d.Close:
		dst = append(dst, "Connection: close\r\n"...)
	case x.Minor == 0 && !r.Interim() && r.Body.kind != Tunnel:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return append(dst, crlf...)
}

// drops says which fields are not forwarded besides those that never are.
type drops struct{ connection, upgrade, host, forwardedFor, expect, maxForwards, length bool }

func (d *drops) field(id id) bool {
	switch id {
	case idConnection, idKeepAlive, idProxyConnection, idTE, idTransferEncoding:
		return true
	case idUpgrade:
		return d.upgrade
	case idHost:
		return d.host
	case idForwardedFor:
		return d.forwardedFor
	case idExpect:
		return d.expect
	case idMaxForwards:
		return d.maxForwards
	case idContentLength:
		return d.length
	}
	return false
}

// appendFields appends the lines that are forwarded, neighbours at once.
func (h *Head) appendFields(dst []byte, d *drops) []byte {
	end := len(h.raw) - len(crlf)
	from := h.first
	for i := range h.index.n {
		f := h.index.at(i)
		drop := d.field(f.id) || f.id == idOther && h.has(factOtherOption) && h.optioned(h.raw[f.name:f.nameEnd])
		drop = drop || len(h.edits) > 0 && h.edited(h.raw[f.name:f.nameEnd])
		if !drop && !f.spaced {
			continue
		}
		dst = append(dst, h.raw[from:f.name]...)
		if from = end; i+1 < h.index.n {
			from = int(h.index.at(i + 1).name)
		}
		if !drop {
			dst = append(append(append(dst, h.raw[f.name:f.nameEnd]...), ": "...), h.raw[f.value:f.valueEnd]...)
			dst = append(dst, crlf...)
		}
	}
	return h.appendEdits(append(dst, h.raw[from:end]...))
}

// optioned says that a Connection field names this one, which therefore is for this connection only. Fields that frame or
// route are not asked about: removing those would change the message.
func (h *Head) optioned(name []byte) bool {
	for i := range h.index.n {
		f := h.index.at(i)
		if f.id != idConnection {
			continue
		}
		list := h.raw[f.value:f.valueEnd]
		for m, rest, ok := member(list); ok; m, rest, ok = member(rest) {
			if foldAny(m, name) {
				return true
			}
		}
	}
	return false
}

// appendList appends what fields of this id have, each followed by a comma.
func (h *Head) appendList(dst []byte, id id) []byte {
	for i := range h.index.n {
		if f := h.index.at(i); f.id == id && f.value < f.valueEnd {
			dst = append(append(dst, h.raw[f.value:f.valueEnd]...), ", "...)
		}
	}
	return dst
}

func (h *Head) appendVia(dst []byte, name string) []byte {
	if name == "" {
		return dst
	}
	dst = append(append(dst, "Via: 1."...), '0'+h.minor, ' ')
	return append(append(dst, name...), crlf...)
}
