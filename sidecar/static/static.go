// Package static reads a bootstrap and turns what it says about traffic into a config.Snapshot: the way to run a
// sidecar without an operator.
package static

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/config"
)

// Parse reads a bootstrap from a YAML or JSON file's content; name is used in errors ("bootstrap.yaml:12: ...").
// A field that it does not know is an error: in a file it is a typing mistake.
func Parse(name string, data []byte) (*bootstrap.Bootstrap, error) {
	b := &bootstrap.Bootstrap{}
	if err := decode(name, data, b); err != nil {
		return nil, err
	}
	return b, nil
}

// ParseEnv reads the JSON that the injector wrote. It ignores fields that it does not know: the injector may be newer
// than this sidecar.
func ParseEnv(value string) (*bootstrap.Bootstrap, error) {
	b := &bootstrap.Bootstrap{}
	if err := json.Unmarshal([]byte(value), b); err != nil {
		return nil, fmt.Errorf("parse %s: %w", bootstrap.Env, err)
	}
	return b, nil
}

// Check reports every mistake of a defaulted b that does not concern its static traffic.
func Check(b *bootstrap.Bootstrap) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if b.Node.ID == "" {
		bad("node.id: it is missing")
	}
	if b.Node.Version == "" {
		bad("node.version: it is missing")
	}
	if b.Node.Generation < 1 {
		bad("node.generation: %d is less than 1", b.Node.Generation)
	}
	if b.Operator == nil && b.Static == nil {
		bad("one of operator and static is needed: nothing says what to serve")
	}
	if b.Operator != nil && b.Static != nil {
		bad("operator and static exclude each other")
	}
	if o := b.Operator; o != nil {
		if _, _, err := net.SplitHostPort(o.Address); err != nil {
			bad("operator.address: %w", err)
		}
		if o.ServerName == "" {
			bad("operator.serverName: it is missing")
		}
		if o.CA == "" {
			bad("operator.ca: it is missing")
		}
	}
	for _, a := range []struct{ field, addr string }{{"admin", b.Admin}, {"meshAPI", b.MeshAPI}} {
		if ap, err := netip.ParseAddrPort(a.addr); err != nil {
			bad("%s: %w", a.field, err)
		} else if !ap.Addr().IsLoopback() {
			bad("%s: %s is not on loopback", a.field, a.addr)
		}
	}
	if err := CheckTracing(b.Tracing); err != nil {
		errs = append(errs, err)
	}
	if b.Loops < 0 || b.Loops > 64 {
		bad("loops: %d is not between 0 and 64", b.Loops)
	}
	if b.MemoryLimitBytes < 0 {
		bad("memoryLimitBytes: %d is negative", b.MemoryLimitBytes)
	}
	if _, _, err := Overload(b); err != nil {
		errs = append(errs, err)
	}
	if b.TerminationGraceSeconds < 0 {
		bad("terminationGraceSeconds: %d is negative", b.TerminationGraceSeconds)
	}
	if b.AccessLog != nil {
		if _, err := AccessFilter(b.AccessLog); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// CheckSlot reports every mistake of the defaulted bootstrap of a slot, which says neither version nor generation.
func CheckSlot(b *bootstrap.Bootstrap) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	s := cmp.Or(b.Slot, &bootstrap.Slot{})
	if s.Name != "a" && s.Name != "b" {
		bad("slot.name: %q is neither a nor b", s.Name)
	}
	for _, p := range []struct{ field, path string }{{"slot.dir", s.Dir}, {"slot.file", s.File}, {"slot.tokenFile", s.TokenFile}} {
		if !filepath.IsAbs(p.path) {
			bad("%s: %q is no absolute path", p.field, p.path)
		}
	}
	if b.Operator == nil {
		bad("operator: it is missing; only an operator lets slots take turns")
	}
	if strings.Contains(b.Node.ID, "$(") {
		bad("node.id: %q was not expanded", b.Node.ID)
	}
	named := *b
	named.Node.Version, named.Node.Generation = "from-the-file", 1
	return errors.Join(append(errs, Check(&named))...)
}

// Snapshot turns s into a configuration and validates it. Every mistake is reported at once.
func Snapshot(s *bootstrap.Static) (*config.Snapshot, error) {
	t := translator{snap: &config.Snapshot{
		Version:  "static",
		Hosts:    make(map[string]*config.Host),
		Clusters: make(map[string]*config.Cluster),
	}}
	for i, l := range s.Listeners {
		t.listener(fmt.Sprintf("static.listeners[%d]", i), l)
	}
	for i, r := range s.Routes {
		t.route(fmt.Sprintf("static.routes[%d]", i), r)
	}
	for i, c := range s.Clusters {
		t.cluster(fmt.Sprintf("static.clusters[%d]", i), c)
	}
	t.speakHTTP(s)
	if err := errors.Join(append(t.errs, t.snap.Validate())...); err != nil {
		return nil, err
	}
	return t.snap, nil
}

type translator struct {
	snap *config.Snapshot
	errs []error
}

func (t *translator) fault(format string, args ...any) {
	t.errs = append(t.errs, fmt.Errorf(format, args...))
}

func (t *translator) listener(at string, l bootstrap.Listener) {
	out := config.Listener{
		Name: l.Name, Cluster: l.Cluster, Address: t.addr(at+".address", l.Address), TLS: t.listenerTLS(at+".tls", l.TLS),
		ProxyProtocol: l.ProxyProtocol, Limit: t.limit(at+".limit", l.Limit),
	}
	switch l.Protocol {
	case bootstrap.TCP:
		out.Protocol = config.TCP
	case bootstrap.Bolt:
		out.Protocol = config.Bolt
	case bootstrap.Dubbo:
		out.Protocol = config.Dubbo
	case bootstrap.HTTP1:
		out.Protocol = config.HTTP1
	case bootstrap.HTTP2, bootstrap.GRPC:
		out.Protocol = config.HTTP2
	case bootstrap.Auto:
		out.Protocol = config.Auto
	default:
		t.fault("%s.protocol: %q is none of tcp, bolt, dubbo, http1, http2, grpc, auto", at, l.Protocol)
	}
	if x := out.TLS; x != nil && out.Protocol == config.HTTP2 && len(x.ALPN) == 0 {
		x.ALPN = []string{"h2"} // RFC 9113, section 3.2: there are clients that speak HTTP/2 only where it was agreed on
	}
	if l.Cluster == "" {
		out.Direction = config.Outbound // it routes by service, as calls of an application do
	}
	t.snap.Listeners = append(t.snap.Listeners, out)
}

func (t *translator) cluster(at string, c bootstrap.Cluster) {
	if c.Name == "" {
		t.fault("%s.name: it is missing", at)
		return
	}
	if t.snap.Clusters[c.Name] != nil {
		t.fault("%s.name: %q is used twice", at, c.Name)
		return
	}
	out := &config.Cluster{
		Name:           c.Name,
		ConnectTimeout: t.duration(at+".connectTimeout", c.ConnectTimeout, time.Second),
		Connections:    cmp.Or(c.Connections, 1),
		TLS:            t.clusterTLS(at+".tls", c.TLS),
	}
	for i, e := range c.Endpoints {
		if ap := t.endpoint(fmt.Sprintf("%s.endpoints[%d]", at, i), e); ap.IsValid() {
			out.Endpoints = append(out.Endpoints, ap)
		}
	}
	slices.SortFunc(out.Endpoints, netip.AddrPort.Compare)
	out.Endpoints = slices.Compact(out.Endpoints)
	t.resilience(at, c, out)
	t.snap.Clusters[c.Name] = out
}

// endpoint reads the address of a Unix-domain socket, else what addr does.
func (t *translator) endpoint(at, s string) netip.AddrPort {
	a, is, err := address.ParseUnix(s)
	if !is {
		return t.addr(at, s)
	}
	if err != nil {
		t.fault("%s: %w", at, err)
	}
	return a
}

// addr reads host:port, where host is an IP address, "localhost", or empty for all addresses.
func (t *translator) addr(at, s string) netip.AddrPort {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		t.fault("%s: %w", at, err)
		return netip.AddrPort{}
	}
	switch host {
	case "":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		t.fault("%s: host %q is no IP address; names are not resolved here", at, host)
		return netip.AddrPort{}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.fault("%s: port %q is not between 0 and 65535", at, port)
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip, uint16(n))
}

func (t *translator) duration(at, s string, byDefault time.Duration) time.Duration {
	if s == "" {
		return byDefault
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.fault("%s: %w", at, err)
		return byDefault
	}
	if d <= 0 {
		t.fault("%s: %s is not positive", at, s)
		return byDefault
	}
	return d
}
