package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/axlemesh/axle/sidecar/codec/change"
)

// Edit changes what is passed on of HTTP messages. What is removed is removed first; the rest is done in order. It leaves
// other protocols alone: their headers are part of what their endpoints check or cannot be changed in place.
type Edit struct {
	Request, Response []change.Field
	// Host replaces the request's host, and its port.
	Host string
	// With replaces Prefix where the path begins with that; the rest of the path and the query stay. An empty Prefix stands
	// for the whole path. An empty With leaves the path alone. Where both meet, two slashes become one.
	Prefix, With string
}

// Redirect answers an HTTP request with another address. What is empty stays as the client has asked for it.
type Redirect struct {
	Scheme string // http or https
	Host   string // without a port
	Port   uint16
	// Prefix and With as in Edit.
	Prefix, With string
	DropQuery    bool
	// Status is 301, 302, 303, 307 or 308.
	Status int
}

// Bounds of an Edit.
const (
	maxChanges     = 64
	maxHeaderName  = 128
	maxHeaderValue = 4 << 10
	maxRewrite     = 1<<10 + 1 // a TrafficRule has 1 KiB, and gets a slash behind that where it replaces /
)

// untouchable headers frame a message, belong to one connection, or say where it goes: changing them would break it.
var untouchable = map[string]string{
	"host": "set the edit's host", "content-length": "", "transfer-encoding": "", "connection": "", "keep-alive": "", "proxy-connection": "",
	"te": "", "trailer": "", "upgrade": "", "expect": "", "max-forwards": "",
}

func (e *Edit) validate() []error {
	var errs []error
	if len(e.Request)+len(e.Response) == 0 && e.Host == "" && e.With == "" {
		errs = append(errs, errors.New("it changes nothing"))
	}
	for _, side := range []struct {
		name    string
		changes []change.Field
	}{{"request", e.Request}, {"response", e.Response}} {
		if n := len(side.changes); n > maxChanges {
			errs = append(errs, fmt.Errorf("%s: %d changes are more than %d", side.name, n, maxChanges))
		}
		for i, c := range side.changes {
			if err := validateChange(c); err != nil {
				errs = append(errs, fmt.Errorf("%s %d: %w", side.name, i, err))
			}
		}
	}
	if e.Host != "" && !isAuthority(e.Host) {
		errs = append(errs, fmt.Errorf("host %q is no host", e.Host))
	}
	return append(errs, validateRewrite(e.Prefix, e.With)...)
}

func validateRewrite(prefix, with string) []error {
	var errs []error
	if prefix != "" && (!isPath(prefix) || with == "") {
		errs = append(errs, fmt.Errorf("prefix %q has to begin with / and needs something to be replaced with", prefix))
	}
	if with != "" && !isPath(with) {
		errs = append(errs, fmt.Errorf("path %q has to begin with / and have no query", with))
	}
	return errs
}

func validateChange(c change.Field) error {
	name := strings.ToLower(c.Name)
	hint, fixed := untouchable[name]
	switch {
	case c.Op > change.Remove:
		return fmt.Errorf("unknown operation %d", c.Op)
	case name == "" || len(name) > maxHeaderName || strings.ContainsFunc(name, func(r rune) bool { return !isToken(r) }):
		return fmt.Errorf("%q is no header's name of up to %d bytes", c.Name, maxHeaderName)
	case fixed && hint != "":
		return fmt.Errorf("header %q is not changed so: %s", c.Name, hint)
	case fixed:
		return fmt.Errorf("header %q belongs to the connection or frames the message: it cannot be changed", c.Name)
	case c.Op == change.Remove && c.Value != "":
		return fmt.Errorf("header %q is removed and has a value", c.Name)
	case len(c.Value) > maxHeaderValue || strings.ContainsFunc(c.Value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) ||
		strings.TrimSpace(c.Value) != c.Value:
		return fmt.Errorf("header %q: the value is longer than %d bytes, has control characters or spaces around it", c.Name, maxHeaderValue)
	}
	return nil
}

func (r *Redirect) validate() []error {
	var errs []error
	switch r.Status {
	case 301, 302, 303, 307, 308:
	default:
		errs = append(errs, fmt.Errorf("status %d is none of 301, 302, 303, 307 and 308", r.Status))
	}
	if r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https" {
		errs = append(errs, fmt.Errorf("scheme %q is neither http nor https", r.Scheme))
	}
	if r.Host != "" && (!isAuthority(r.Host) || strings.LastIndexByte(r.Host, ':') > strings.LastIndexByte(r.Host, ']')) {
		errs = append(errs, fmt.Errorf("host %q is no host without a port", r.Host))
	}
	if r.Scheme == "" && r.Host == "" && r.Port == 0 && r.With == "" {
		errs = append(errs, errors.New("it leads back to where the request came from"))
	}
	return append(errs, validateRewrite(r.Prefix, r.With)...)
}

// isToken says that r may be in a header's name (RFC 9110 section 5.6.2).
func isToken(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// isAuthority is a sober subset of RFC 3986 section 3.2: a name, an address, or either with a port.
func isAuthority(s string) bool {
	return len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._:[]", r)
	})
}

// isPath says that s is an absolute path without a query, as it may stand in a request line.
func isPath(s string) bool {
	return len(s) <= maxRewrite && strings.HasPrefix(s, "/") && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("?#\"<>\\^`{|}", r)
	})
}
