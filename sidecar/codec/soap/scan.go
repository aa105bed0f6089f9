package soap

import "bytes"

// Bounds of a scan.
const (
	maxBody  = 16 << 10 // bytes that are looked at
	maxDepth = 64       // of what is in a header
)

// Namespaces of an envelope.
const (
	envelope11 = "http://schemas.xmlsoap.org/soap/envelope/"
	envelope12 = "http://www.w3.org/2003/05/soap-envelope"
)

// scan finds the first element in the body of an envelope. It reads just enough of XML 1.0 for that, in UTF-8: document types
// are refused, as SOAP says, and so are namespaces with references in them; other references are not looked into.
func scan(b []byte) (c Call, ok bool) {
	s := scanner{b: bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))}
	if !s.open() || s.empty || !s.soap("Envelope") {
		return c, false
	}
	s.outer[0] = s.attributes
	ok = s.open()
	if ok && s.soap("Header") {
		if !s.empty && !s.leave() {
			return c, false
		}
		ok = s.open()
	}
	if !ok || s.empty || !s.soap("Body") {
		return c, false
	}
	s.outer[1] = s.attributes
	if !s.open() {
		return c, false
	}
	c.Service, c.Operation, ok = s.full()
	return c, ok && len(c.Service) > 0
}

// scanner walks the tags of a document. It is at the start tag of one element.
type scanner struct {
	b  []byte
	at int

	name, attributes []byte
	empty            bool
	outer            [2][]byte // attributes of the elements around it, the outermost first
}

// soap says that the element has this name in an envelope's namespace.
func (s *scanner) soap(name string) bool {
	namespace, local, ok := s.full()
	return ok && string(local) == name && (string(namespace) == envelope11 || string(namespace) == envelope12)
}

// full is the namespace and the name of the element; ok is false when its prefix stands for nothing.
func (s *scanner) full() (namespace, local []byte, ok bool) {
	prefix, local, prefixed := bytes.Cut(s.name, []byte{':'})
	if !prefixed {
		prefix, local = nil, s.name
	} else if len(prefix) == 0 || len(local) == 0 || bytes.IndexByte(local, ':') >= 0 {
		return nil, nil, false
	}
	for _, attributes := range [...][]byte{s.attributes, s.outer[1], s.outer[0]} {
		namespace, found, ok := declared(attributes, prefix)
		if found || !ok {
			return namespace, local, ok
		}
	}
	return nil, local, !prefixed
}

// declared looks for what a prefix stands for; ok is false when the attributes cannot be read.
func declared(attributes, prefix []byte) (namespace []byte, found, ok bool) {
	for len(attributes) > 0 {
		name, value, behind, ok := attribute(attributes)
		if !ok {
			return nil, false, false
		}
		attributes = behind
		declares, is := bytes.CutPrefix(name, []byte("xmlns:"))
		if is && len(declares) == 0 {
			return nil, false, false // no prefix, and not the default either
		}
		if string(name) == "xmlns" {
			declares, is = nil, true
		}
		if is && bytes.Equal(declares, prefix) {
			namespace, found = value, true
		}
	}
	return namespace, found, bytes.IndexByte(namespace, '&') < 0
}

// attribute reads the first attribute of a list; behind is empty after the last one.
func attribute(b []byte) (name, value, behind []byte, ok bool) {
	b = bytes.TrimLeft(b, space)
	name = b[:nameLen(b)]
	b = bytes.TrimLeft(b[len(name):], space)
	if len(name) == 0 || len(b) == 0 || b[0] != '=' {
		return nil, nil, nil, false
	}
	b = bytes.TrimLeft(b[1:], space)
	if len(b) == 0 || b[0] != '"' && b[0] != '\'' {
		return nil, nil, nil, false
	}
	end := bytes.IndexByte(b[1:], b[0])
	if end < 0 {
		return nil, nil, nil, false
	}
	value, behind = b[1:1+end], b[2+end:]
	if trimmed := bytes.TrimLeft(behind, space); len(trimmed) == 0 {
		behind = nil
	} else if len(trimmed) == len(behind) {
		return nil, nil, nil, false // nothing between two attributes
	}
	return name, value, behind, bytes.IndexByte(value, '<') < 0
}

const space = " \t\r\n"

// open goes behind the next start tag, over white space, comments and processing instructions. Anything else before it is
// refused.
func (s *scanner) open() bool {
	for {
		var ok bool
		rest := s.b[s.at:]
		trimmed := bytes.TrimLeft(rest, space)
		s.at += len(rest) - len(trimmed)
		switch {
		case bytes.HasPrefix(trimmed, []byte("<!--")):
			ok = s.past("<!--", "-->")
		case bytes.HasPrefix(trimmed, []byte("<?")):
			ok = utf8Declared(trimmed) && s.past("<?", "?>")
		default:
			return s.tag()
		}
		if !ok {
			return false
		}
	}
}

// utf8Declared says that b does not begin with the declaration of another encoding.
func utf8Declared(b []byte) bool {
	end := bytes.Index(b, []byte("?>"))
	if end < 0 || !bytes.HasPrefix(b, []byte("<?xml")) || bytes.IndexByte([]byte(space), b[5]) < 0 {
		return true
	}
	at := bytes.Index(b[:end], []byte("encoding"))
	if at < 0 {
		return true
	}
	value := bytes.Trim(b[at+len("encoding"):end], space+"=")
	return len(value) >= 7 && equalFold(value[1:6], "utf-8") && value[6] == value[0]
}

// past goes behind what begins with from, at its end.
func (s *scanner) past(from, to string) bool {
	s.at += len(from)
	end := bytes.Index(s.b[s.at:], []byte(to))
	if end < 0 {
		return false
	}
	s.at += end + len(to)
	return true
}

// tag reads a start tag.
func (s *scanner) tag() bool {
	b := s.b[s.at:]
	if len(b) == 0 || b[0] != '<' {
		return false
	}
	s.name = b[1 : 1+nameLen(b[1:])]
	at := 1 + len(s.name)
	from := at
	for ; at < len(b) && b[at] != '>'; at++ {
		switch b[at] {
		case '<':
			return false
		case '"', '\'':
			end := bytes.IndexByte(b[at+1:], b[at])
			if end < 0 {
				return false
			}
			at += 1 + end
		}
	}
	if at == len(b) || len(s.name) == 0 {
		return false
	}
	s.attributes, s.empty = b[from:at], false
	if n := len(s.attributes); n > 0 && s.attributes[n-1] == '/' {
		s.empty, s.attributes = true, s.attributes[:n-1]
	}
	if len(s.attributes) > 0 && bytes.IndexByte([]byte(space), s.attributes[0]) < 0 {
		return false
	}
	s.attributes = bytes.Trim(s.attributes, space)
	s.at += at + 1
	return true
}

// leave goes behind the end tag of the element that it is in.
func (s *scanner) leave() bool {
	for depth := 1; depth > 0; {
		next := bytes.IndexByte(s.b[s.at:], '<')
		if next < 0 {
			return false
		}
		s.at += next
		rest := s.b[s.at:]
		var ok bool
		switch {
		case bytes.HasPrefix(rest, []byte("<!--")):
			ok = s.past("<!--", "-->")
		case bytes.HasPrefix(rest, []byte("<![CDATA[")):
			ok = s.past("<![CDATA[", "]]>")
		case bytes.HasPrefix(rest, []byte("<?")):
			ok = s.past("<?", "?>")
		case bytes.HasPrefix(rest, []byte("</")):
			depth--
			ok = s.past("</", ">")
		default:
			if ok = s.tag(); !s.empty {
				depth++
			}
		}
		if !ok || depth > maxDepth {
			return false
		}
	}
	return true
}

// nameLen is the length of the name that b begins with: letters, digits, some signs, and anything beyond ASCII.
func nameLen(b []byte) int {
	for i, c := range b {
		switch {
		case c|0x20 >= 'a' && c|0x20 <= 'z', c == '_', c == ':', c >= 0x80:
		case i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.'):
		default:
			return i
		}
	}
	return len(b)
}
