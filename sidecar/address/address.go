// Package address names what a sidecar connects to.
//
// Everything is a netip.AddrPort, so that all of it compares, sorts, is a key and moves in a handover alike. A Unix-domain
// socket is one that no TCP endpoint can have: the unspecified IPv6 address with the socket's name for a zone, and no port.
package address

import (
	"fmt"
	"net/netip"
	"path"
	"strings"
)

// maxUnix is how long a name may be: sun_path of unix(7) has 108 bytes, one of which ends a path or begins an abstract name.
const maxUnix = 107

// scheme begins a Unix-domain socket in text.
const scheme = "unix:"

// Unix is the socket of that name: an absolute path, or an abstract name behind "@".
func Unix(name string) (netip.AddrPort, error) {
	abstract, isAbstract := strings.CutPrefix(name, "@")
	switch {
	case isAbstract && abstract == "", !isAbstract && (!path.IsAbs(name) || path.Clean(name) == "/"):
		return netip.AddrPort{}, fmt.Errorf("%q is no absolute path, nor an abstract name behind @", name)
	case strings.IndexByte(name, 0) >= 0:
		return netip.AddrPort{}, fmt.Errorf("%q has a zero byte", name)
	case len(strings.TrimPrefix(name, "@")) > maxUnix:
		return netip.AddrPort{}, fmt.Errorf("%q has more than %d bytes", name, maxUnix)
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified().WithZone(name), 0), nil
}

// ParseUnix reads "unix:///path" and "unix:@name". is says that s begins as such an address; if it does not, there is no error.
func ParseUnix(s string) (a netip.AddrPort, is bool, err error) {
	name, is := strings.CutPrefix(s, scheme)
	if !is {
		return a, false, nil
	}
	if rest, ok := strings.CutPrefix(name, "//"); ok {
		name = rest
		if !strings.HasPrefix(name, "/") {
			return a, true, fmt.Errorf("%q has a host: write unix:///path", s)
		}
	} else if !strings.HasPrefix(name, "@") {
		return a, true, fmt.Errorf("%q is neither unix:///path nor unix:@name", s)
	}
	a, err = Unix(name)
	return a, true, err
}

// UnixName is the name of a Unix-domain socket as Unix takes it; ok is false for everything else.
func UnixName(a netip.AddrPort) (name string, ok bool) {
	name = a.Addr().Zone()
	return name, name != "" && a.Port() == 0
}

// Dialable says whether one can connect there.
func Dialable(a netip.AddrPort) bool {
	_, ok := UnixName(a)
	return ok || a.IsValid() && a.Port() != 0
}

// String is a as files have it: host:port, unix:///path or unix:@name.
func String(a netip.AddrPort) string {
	name, ok := UnixName(a)
	switch {
	case !ok:
		return a.String()
	case strings.HasPrefix(name, "@"):
		return scheme + name
	}
	return scheme + "//" + name
}
