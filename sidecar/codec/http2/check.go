package http2

// Classes of bytes in fields (RFC 9113 section 8.2.1, RFC 9110 section 5.6.2).
const (
	className  = 1 << iota // may be in a field's name: a token without capitals
	classValue             // may be in a value
)

var classes = func() (all [256]uint8) {
	for c := range all {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			all[c] = className | classValue
		case c != 0 && c != '\r' && c != '\n':
			all[c] = classValue
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		all[c] |= className
	}
	return all
}()

// onlyOnce has a bit for each id of which a message has one field at most.
const onlyOnce = 1<<idMethod | 1<<idScheme | 1<<idAuthority | 1<<idPath | 1<<idStatus | 1<<idContentLength | 1<<idHost

// check judges what every message has in common: pseudo-header fields are in front and allowed, names and values are made of
// what they may be made of, and nothing is about the connection (RFC 9113 sections 8.2 and 8.3).
func (f *Fields) check(pseudo uint) bool {
	seen := uint(0)
	front := true
	for i := range f.list {
		e := &f.list[i]
		name, value := f.Field(i)
		if bit := uint(1) << e.id; onlyOnce&bit != 0 {
			if seen&bit != 0 {
				return false
			}
			seen |= bit
		}
		switch {
		case e.id.pseudo():
			if !front || pseudo&(1<<e.id) == 0 {
				return false
			}
		case e.id == idConnection, e.id == idTE && string(value) != "trailers":
			return false
		default:
			front = false
		}
		if e.static == 0 && !e.sound && !checkField(name, value, e.id.pseudo()) {
			return false
		}
	}
	return true
}

func checkField(name, value []byte, pseudo bool) bool {
	if !pseudo {
		if len(name) == 0 {
			return false
		}
		for _, c := range name {
			if classes[c]&className == 0 {
				return false
			}
		}
	}
	for _, c := range value {
		if classes[c]&classValue == 0 {
			return false
		}
	}
	n := len(value)
	return n == 0 || !blank(value[0]) && !blank(value[n-1])
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// checkRequest judges a request (section 8.3.1).
func (f *Fields) checkRequest() bool {
	if !f.check(1<<idMethod | 1<<idScheme | 1<<idAuthority | 1<<idPath) {
		return false
	}
	method, path, authority := f.value(idMethod), f.value(idPath), f.value(idAuthority)
	if len(method) == 0 {
		return false
	}
	for _, c := range method {
		if c-'A' >= 26 && classes[c]&className == 0 {
			return false
		}
	}
	if f.known[idAuthority] > 0 && f.known[idHost] > 0 && string(authority) != string(f.value(idHost)) {
		return false
	}
	if string(method) == "CONNECT" { // section 8.5
		return f.known[idScheme] == 0 && f.known[idPath] == 0 && len(authority) > 0
	}
	if f.known[idScheme] == 0 || len(path) == 0 {
		return false
	}
	for _, c := range path { // without a fragment: who cuts that off would serve another path than the one that was routed
		if c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	for _, c := range f.Authority() {
		if c <= ' ' || c == 0x7f || c == '@' {
			return false
		}
	}
	return path[0] == '/' || string(path) == "*" && string(method) == "OPTIONS"
}

// checkResponse judges a response (section 8.3.2).
func (f *Fields) checkResponse() bool {
	status := f.value(idStatus)
	return f.check(1<<idStatus) && len(status) == 3 && status[0] >= '1' && decimal(status) >= 0
}

// checkTrailers judges trailers (section 8.1): no pseudo-header fields.
func (f *Fields) checkTrailers() bool { return f.check(0) }
