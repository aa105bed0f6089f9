package proxy

import (
	"bytes"
	"strconv"

	"github.com/axlemesh/axle/sidecar/codec/http1"
	"github.com/axlemesh/axle/sidecar/config"
)

// rewrite replaces the prefix of a request's path, behind which its query may be; an empty one is all of the path.
func rewrite(path []byte, prefix, with string) http1.Rewrite {
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	switch {
	case with == "":
		return http1.Rewrite{}
	case prefix == "":
		return http1.Rewrite{Cut: len(path), With: with}
	case len(path) == 0 && prefix == "/":
		return http1.Rewrite{With: with}
	case len(path) < len(prefix) || string(path[:len(prefix)]) != prefix:
		return http1.Rewrite{}
	}
	return http1.Rewrite{Cut: len(prefix), With: with}
}

// appendLocation appends where a redirect leads a request with this authority and path. What names no scheme keeps the
// client's, as a reference that is relative to the request's own address (RFC 3986 section 4.2).
func appendLocation(at []byte, r *config.Redirect, authority, path []byte) []byte {
	if r.Scheme != "" {
		at = append(append(at, r.Scheme...), ':')
	}
	if r.Scheme != "" || r.Host != "" || r.Port != 0 {
		at = appendPlace(append(at, "//"...), r, authority)
	}
	whole := path
	if i := bytes.IndexByte(path, '?'); i >= 0 && r.DropQuery {
		path = path[:i]
	}
	if by := rewrite(whole, r.Prefix, r.With); by.With != "" {
		return by.Append(at, path)
	}
	if len(whole) == 0 || whole[0] != '/' {
		at = append(at, '/')
	}
	return append(at, path...)
}

// appendPlace appends the host and port.
func appendPlace(at []byte, r *config.Redirect, authority []byte) []byte {
	host, port := authority, []byte(nil)
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && bytes.IndexByte(host[i:], ']') < 0 {
		host, port = host[:i], host[i:]
	}
	if r.Host != "" {
		host, port = nil, nil
		at = append(at, r.Host...)
	}
	at = append(at, host...)
	switch {
	case r.Port != 0:
		at = strconv.AppendUint(append(at, ':'), uint64(r.Port), 10)
	case r.Scheme == "": // another scheme has another port
		at = append(at, port...)
	}
	return at
}
