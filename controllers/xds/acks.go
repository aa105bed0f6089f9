package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"github.com/axlemesh/axle/controllers/identity"
)

const (
	// maxOutstanding bounds the responses of one stream that wait for an answer. The protocol keeps it at one or two.
	maxOutstanding = 8
	// maxReason bounds what is kept of a rejection, in bytes.
	maxReason = 512
	// longReason is the length from which on a rejection may have been cut off before it named every host.
	longReason = 8 << 10
	// versionBytes of a hash say which routes a count is about.
	versionBytes = 8
)

// acks keeps which version of each resource with rules in it the connected sidecars hold: virtual hosts, and clusters. Those without
// rules are not kept: their number is not bounded by what people write.
type acks struct {
	mu      sync.Mutex
	parts   map[part]*partAcks
	streams map[int64]*streamAcks
	changed func(parts []part) // called without the lock
}

// partAcks is one resource.
type partAcks struct {
	version string
	held    map[int64]holding // by stream
}

// holding is what one stream was last sent of a resource, and what it said.
type holding struct {
	version string
	verdict verdict
	reason  string
}

type verdict uint8

const (
	sent verdict = iota
	acked
	nacked
)

// streamAcks is one connected sidecar.
type streamAcks struct {
	who         identity.Sidecar
	asked       map[string]bool // the types that it has asked for
	outstanding []outstanding
}

// outstanding is a response that waits for its answer.
type outstanding struct {
	kind     string
	nonce    string
	versions map[string]string // by name
}

func newAcks(changed func([]part)) *acks {
	return &acks{parts: map[part]*partAcks{}, streams: map[int64]*streamAcks{}, changed: changed}
}

// want says which version of a resource is to be held from now on; empty when it has no rules.
func (a *acks) want(p part, version string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch h := a.parts[p]; {
	case version == "":
		delete(a.parts, p)
	case h == nil:
		a.parts[p] = &partAcks{version: version, held: map[int64]holding{}}
	default:
		h.version = version
	}
}

func (a *acks) open(id int64, who identity.Sidecar) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams[id] = &streamAcks{who: who, asked: map[string]bool{}}
}

func (a *acks) close(id int64) {
	a.mu.Lock()
	delete(a.streams, id)
	var parts []part
	for p, h := range a.parts {
		delete(h.held, id)
		parts = append(parts, p)
	}
	a.mu.Unlock()
	a.changed(parts)
}

// request works in what a sidecar asks or answers.
func (a *acks) request(id int64, req *discoveryv3.DeltaDiscoveryRequest) {
	if !counted(req.GetTypeUrl()) {
		return
	}
	a.mu.Lock()
	s := a.streams[id]
	if s == nil {
		a.mu.Unlock()
		return
	}
	var parts []part
	if kind := req.GetTypeUrl(); !s.asked[kind] { // what it holds from an earlier stream, it took then
		s.asked[kind] = true
		for p, h := range a.parts {
			parts = append(parts, p)
			if v, ok := req.GetInitialResourceVersions()[p.name]; ok && p.kind == kind {
				h.held[id] = holding{version: v, verdict: acked}
			}
		}
	}
	parts = append(parts, a.answered(id, s, req)...)
	a.mu.Unlock()
	a.changed(parts)
}

// counted says whether rules are in resources of a type.
func counted(kind string) bool {
	return kind == resource.VirtualHostType || kind == resource.ClusterType
}

// answered works in an ACK or a NACK. A sidecar takes the good resources of a response and names the others.
func (a *acks) answered(id int64, s *streamAcks, req *discoveryv3.DeltaDiscoveryRequest) []part {
	at := slices.IndexFunc(s.outstanding, func(o outstanding) bool {
		return o.kind == req.GetTypeUrl() && o.nonce == req.GetResponseNonce()
	})
	if at < 0 {
		return nil
	}
	versions := s.outstanding[at].versions
	s.outstanding = slices.Delete(s.outstanding, at, at+1)
	var parts []part
	for key, version := range versions {
		p := part{req.GetTypeUrl(), key}
		parts = append(parts, p)
		h := a.parts[p]
		if h == nil || h.held[id].version != version {
			continue // there is a newer one by now
		}
		now := holding{version: version, verdict: acked}
		if detail := req.GetErrorDetail(); detail != nil {
			now = judge(key, version, detail.GetMessage(), versions)
		}
		h.held[id] = now
	}
	return parts
}

// judge says whether a rejection is about a resource: when it names it, or names none of those that were sent, or is so long
// that names may be missing.
func judge(key, version, message string, all map[string]string) holding {
	names := func(key string) bool { return strings.Contains(message, strconv.Quote(key)) }
	about := names(key) || len(message) >= longReason
	if !about {
		about = true
		for other := range all {
			if names(other) {
				about = false
				break
			}
		}
	}
	if !about {
		return holding{version: version, verdict: acked}
	}
	for line := range strings.SplitSeq(message, "\n") {
		if strings.Contains(line, strconv.Quote(key)) {
			message = line
			break
		}
	}
	return holding{version: version, verdict: nacked, reason: strings.ToValidUTF8(message[:min(len(message), maxReason)], "")}
}

// response notes what is about to be sent.
func (a *acks) response(id int64, resp *discoveryv3.DeltaDiscoveryResponse) {
	kind := resp.GetTypeUrl()
	if !counted(kind) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.streams[id]
	if s == nil {
		return
	}
	versions := map[string]string{}
	for _, r := range resp.GetResources() {
		if h := a.parts[part{kind, r.GetName()}]; h != nil {
			h.held[id] = holding{version: r.GetVersion()}
			versions[r.GetName()] = r.GetVersion()
		}
	}
	for _, name := range resp.GetRemovedResources() {
		if h := a.parts[part{kind, name}]; h != nil {
			delete(h.held, id)
		}
	}
	if len(versions) == 0 {
		return
	}
	if len(s.outstanding) == maxOutstanding {
		s.outstanding = s.outstanding[1:]
	}
	s.outstanding = append(s.outstanding, outstanding{kind: kind, nonce: resp.GetNonce(), versions: versions})
}

// Count is how many sidecars of this replica hold some resources as they are now.
type Count struct {
	// Version of the resources together; empty when there are none.
	Version              string
	Total, Acked, Nacked int
	// Message of one sidecar that rejected them, the first by name.
	Message string
}

// count looks at every stream that asks for virtual hosts.
func (a *acks) count(parts []part) Count {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []*partAcks
	hash := sha256.New()
	for _, p := range parts {
		h := a.parts[p]
		if h == nil {
			continue
		}
		all = append(all, h)
		name := p.name
		if p.kind != resource.VirtualHostType { // replicas of the release before know hosts alone, and have to agree while they are replaced
			name = p.kind + "\n" + name
		}
		_, _ = hash.Write([]byte(name + "\n" + h.version + "\n")) // never fails
	}
	if len(all) == 0 {
		return Count{}
	}
	c := Count{Version: hex.EncodeToString(hash.Sum(nil)[:versionBytes])}
	first := ""
	for id, s := range a.streams {
		if !s.asked[resource.VirtualHostType] {
			continue
		}
		c.Total++
		switch v, reason := together(all, id); v {
		case acked:
			c.Acked++
		case nacked:
			c.Nacked++
			if name := s.who.Namespace + "/" + s.who.Pod + " (" + s.who.Container + ")"; first == "" || name < first {
				first, c.Message = name, name+": "+reason
			}
		}
	}
	return c
}

// together is the verdict of one stream over several resources: one rejection rejects all, and every one has to be taken.
func together(parts []*partAcks, id int64) (verdict, string) {
	all := acked
	for _, h := range parts {
		switch held := h.held[id]; {
		case held.version != h.version || held.verdict == sent:
			all = sent
		case held.verdict == nacked:
			return nacked, held.reason
		}
	}
	return all, ""
}

// versionOf is the version that the cache gives a resource.
func versionOf(m proto.Message) (string, error) {
	raw, err := cache.MarshalResource(m)
	if err != nil {
		return "", err
	}
	return cache.HashResource(raw), nil
}
