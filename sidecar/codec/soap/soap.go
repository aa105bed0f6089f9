// Package soap finds out which operation of which service an HTTP request asks for, if it is SOAP 1.1 or 1.2: by its action
// (https://www.w3.org/TR/2000/NOTE-SOAP-20000508/ section 6.1.1; RFC 3902), which by default is the service's namespace, its
// port type and the operation (https://www.w3.org/TR/ws-addr-wsdl/ section 4.4.4), else by the first element in its body.
//
// It is pure and allocates nothing. It judges nothing either: what it cannot read is no call that it knows of.
package soap

import "bytes"

// Call is what a request asks for: views into what Find was given.
type Call struct {
	Service   []byte // of an action all before the operation, like "http://example.com/stock/Quotes"; of a body the namespace
	Operation []byte
}

// Request is what of an HTTP request says that it is SOAP.
type Request struct {
	Method      []byte
	ContentType []byte
	Action      []byte // the field SOAPAction
	HasAction   bool   // there is such a field: SOAP 1.1 needs it, and may leave it empty
	Body        []byte // as much of it as is there; nil leaves it alone
}

// Find returns the call of a request; ok is false when it is no SOAP, or does not say.
func Find(r *Request) (c Call, ok bool) {
	if string(r.Method) != "POST" {
		return c, false
	}
	media, parameters := r.ContentType, []byte(nil)
	if i := bytes.IndexByte(media, ';'); i >= 0 {
		media, parameters = media[:i], media[i+1:]
	}
	var action []byte
	body := r.Body
	switch media = bytes.TrimRight(media, " \t"); {
	case r.HasAction && equalFold(media, "text/xml"):
		action = unquote(r.Action)
	case equalFold(media, "application/soap+xml"):
		action = parameter(parameters, "action")
	case equalFold(media, "multipart/related") && packed(parameters):
		if action = parameter(parameters, "action"); r.HasAction {
			action = unquote(r.Action)
		}
		_, body, _ = bytes.Cut(body, []byte("\r\n\r\n")) // the envelope is the first part
	default:
		return c, false
	}
	if c, ok = split(action); ok {
		return c, true
	}
	return scan(body[:min(len(body), maxBody)])
}

// packed says that the parts of a message are an envelope and what goes with it (https://www.w3.org/TR/soap12-mtom/;
// https://www.w3.org/TR/SOAP-attachments).
func packed(parameters []byte) bool {
	root := parameter(parameters, "type")
	return equalFold(root, "application/xop+xml") || equalFold(root, "text/xml") || equalFold(root, "application/soap+xml")
}

// split takes an action apart behind its last delimiter.
func split(action []byte) (c Call, ok bool) {
	at := bytes.LastIndexAny(action, "/#:")
	if at <= 0 || at+1 == len(action) {
		return c, false
	}
	return Call{Service: action[:at], Operation: action[at+1:]}, true
}

// parameter returns the value of a media type's parameter, without its quotes (RFC 9110 section 5.6.6); nothing when it is
// not there, or has an escape in it.
func parameter(list []byte, name string) []byte {
	for len(list) > 0 {
		list = bytes.TrimLeft(list, " \t;")
		eq := bytes.IndexByte(list, '=')
		if eq < 0 {
			return nil
		}
		key, value := list[:eq], list[eq+1:]
		end := bytes.IndexByte(value, ';')
		if len(value) > 0 && value[0] == '"' {
			if end = bytes.IndexByte(value[1:], '"'); end < 0 {
				return nil
			}
			end += 2
		}
		if end < 0 {
			end = len(value)
		}
		if equalFold(key, name) {
			return unquote(value[:end])
		}
		list = value[end:]
	}
	return nil
}

// unquote takes the quotes from a value, which older clients leave out.
func unquote(v []byte) []byte {
	v = bytes.Trim(v, " \t")
	if n := len(v); n >= 2 && v[0] == '"' && v[n-1] == '"' {
		v = v[1 : n-1]
	}
	if bytes.IndexByte(v, '"') >= 0 || bytes.IndexByte(v, '\\') >= 0 {
		return nil
	}
	return v
}

// equalFold compares ASCII without case; lower is in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c-'A' < 26 {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
