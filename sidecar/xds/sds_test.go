package xds

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handshake"
)

// until takes snapshots until one is as wanted.
func (f *follower) until(what string, ok func(*config.Snapshot) bool) *config.Snapshot {
	f.t.Helper()
	for range 20 {
		if s := f.next(); ok(s) {
			return s
		}
	}
	f.t.Fatalf("never: %s", what)
	return nil
}

// waits says whether the listener of that address waits for its secrets.
func waits(s *config.Snapshot, name string) bool {
	for _, l := range s.Listeners {
		if l.Name == name {
			return l.TLS.Shut()
		}
	}
	return false
}

func shows(s *config.Snapshot, p pair) bool {
	for _, l := range s.Listeners {
		if l.TLS != nil && len(l.TLS.Certificates) > 0 && string(l.TLS.Certificates[0].Chain.Sent.Reveal()) == p.cert {
			return true
		}
	}
	return false
}

func TestASecretThatComesLate(t *testing.T) {
	p := newPlane(t)
	p.set(secured(bySecrets("trust", "web")), outbound(), securedCluster("pay", "pay.test", bySecrets("trust")), certSecret("other", pairs()[1]))
	f := follow(t, p.addr, nil)
	s := f.next()
	if len(s.Listeners) != 2 || !waits(s, "inbound/15200") || len(s.Clusters["pay"].TLS.Waiting) != 1 {
		t.Errorf("snapshot %+v; want a listener and a cluster that wait, and one that does not", s)
	}
	want := []string{`listener "inbound/15200" waits for secret "web", secret "trust"`, `cluster "pay" waits for secret "trust"`}
	if diff := cmp.Diff(want, f.client.Status().Waiting); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	p.set(trustSecret("trust", pairs()[0].cert))
	f.until("the cluster is warm", func(s *config.Snapshot) bool {
		return len(s.Clusters["pay"].TLS.Waiting) == 0 && waits(s, "inbound/15200")
	})
	p.set(certSecret("web", pairs()[0]))
	f.until("the listener is warm", func(s *config.Snapshot) bool { return !waits(s, "inbound/15200") && shows(s, pairs()[0]) })
	if got := f.client.Status(); len(got.Waiting) > 0 || len(got.Versions["Secret"]) != 2 {
		t.Errorf("status %+v", got)
	}
	p.mu.Lock()
	if got := strings.Join(p.asked, " "); got != "trust web" {
		t.Errorf("asked for %q", got)
	}
	p.mu.Unlock()
	if strings.Contains(p.take(), "other") {
		t.Error("a secret came that nobody needs")
	}
}

func TestASecretRotates(t *testing.T) {
	p := newPlane(t)
	p.set(secured(bySecrets("", "web")), certSecret("web", pairs()[0]))
	f := follow(t, p.addr, nil)
	if s := f.next(); !shows(s, pairs()[0]) {
		t.Errorf("the first snapshot is not whole: %+v", s.Listeners)
	}
	p.set(certSecret("web", pairs()[1]))
	f.until("the new one is there", func(s *config.Snapshot) bool { return shows(s, pairs()[1]) })
	bad := certSecret("web", pair{pairs()[0].cert, pairs()[1].key})
	p.set(bad)
	eventually(t, "a NACK", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.nacks) == 1 })
	want := `Secret "web": tls_certificate.certificate_chain and private_key: tls: private key does not match public key`
	if p.nacks[0] != want || f.client.Status().Rejected["Secret"] != want {
		t.Errorf("NACK %q, status %q", p.nacks[0], f.client.Status().Rejected)
	}
	f.none()
	if err := p.caches[TypeSecret].DeleteResource("web"); err != nil {
		t.Fatal(err)
	}
	f.none()
	p.set(edsCluster("c"))
	if s := f.next(); !shows(s, pairs()[1]) {
		t.Error("the last good secret has gone")
	}
	p.down()
	eventually(t, "disconnected", func() bool { return !f.client.Status().Connected })
	p.up()
	eventually(t, "connected", func() bool { return f.client.Status().Connected })
	p.set(edsCluster("d"))
	if s := f.next(); !shows(s, pairs()[1]) {
		t.Error("the last good secret has gone with the stream")
	}
}

func TestSecretsAreForgotten(t *testing.T) {
	p := newPlane(t)
	p.set(secured(bySecrets("", "web")), certSecret("web", pairs()[0]))
	f := follow(t, p.addr, nil)
	f.next()
	if err := p.caches[TypeListener].DeleteResource("inbound/15200"); err != nil {
		t.Fatal(err)
	}
	f.next()
	p.take()
	eventually(t, "the subscription ends", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return strings.Join(p.asked, " ") == "web -web" })
	if bytes.Contains(f.last, []byte(pairs()[0].key)) {
		t.Error("a secret that nobody needs is still kept")
	}
}

// TestTheLastVersionStaysUntilItsSuccessorIsWarm changes a listener and a cluster to secrets that are not here.
func TestTheLastVersionStaysUntilItsSuccessorIsWarm(t *testing.T) {
	s := NewStore()
	fill(t, s, "1", certSecret("stray", pairs()[0]), secured(bySecrets("", "web")), edsCluster("c"))
	fill(t, s, "1", certSecret("web", pairs()[0]))
	next := secured(bySecrets("", "web2"))
	fill(t, s, "2", next, securedCluster("c", "x", bySecrets("trust")))
	snap, problems := s.Snapshot()
	if waits(snap, "inbound/15200") || !shows(snap, pairs()[0]) || snap.Clusters["c"].TLS != nil {
		t.Errorf("listener %+v, cluster %+v; want their last versions", snap.Listeners, snap.Clusters["c"])
	}
	said(t, problems, `listener "inbound/15200" waits for secret "web2"; its last version stays`)
	said(t, problems, `cluster "c" waits for secret "trust"; its last version stays`)
	if diff := cmp.Diff(map[string]string{"inbound/15200": "1"}, s.Versions(TypeListener)); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	exported, err := s.Export()
	if err != nil {
		t.Fatal(err)
	}
	if successor := readSnapshot(t, exported.All); !shows(successor, pairs()[0]) {
		t.Errorf("a successor starts with %+v", successor)
	}
	fill(t, s, "1", certSecret("web2", pairs()[1]), trustSecret("trust", pairs()[0].cert))
	snap, problems = s.Snapshot()
	if problems != nil || !shows(snap, pairs()[1]) || snap.Clusters["c"].TLS == nil {
		t.Errorf("%+v, %v; want the new versions", snap.Listeners, problems)
	}
	if diff := cmp.Diff(map[string]string{"trust": "1", "web2": "1"}, s.Versions(TypeSecret)); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	fill(t, s, "3", secured(bySecrets("", "web3")))
	if _, err := s.Update(TypeListener, nil, []string{"inbound/15200"}); err != nil {
		t.Fatal(err)
	}
	fill(t, s, "1", trustSecret("trust", pairs()[1].cert))
	if snap, _ := s.Snapshot(); len(snap.Listeners) > 0 {
		t.Errorf("a listener that was removed while it was warming comes back: %+v", snap.Listeners)
	}
}

// TestKeysStayOutOfSight looks for keys in what may go to a disk, in dumps and in a snapshot's text.
func TestKeysStayOutOfSight(t *testing.T) {
	a, b := pairs()[0], pairs()[1]
	inline := secured(bySecrets("", "web"))
	inline.Name, inline.Address = "own", socket("127.0.0.1", 1)
	inline.FilterChains[0].TransportSocket = secured(&tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{b.proto()}}).FilterChains[0].TransportSocket
	s := NewStore()
	fill(t, s, "1", secured(bySecrets("trust", "web")), inline, certSecret("web", a), trustSecret("trust", a.cert), edsCluster("c"))
	exported, err := s.Export()
	if err != nil {
		t.Fatal(err)
	}
	dump, err := json.Marshal(snapshot(t, s))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{a.key, b.key} {
		line := strings.Split(key, "\n")[1]
		if !bytes.Contains(exported.All, []byte(line)) || bytes.Contains(exported.Keyless, []byte(line)) || bytes.Contains(dump, []byte(line)) {
			t.Error("a key is where it should not be, or not where it should")
		}
	}
	snap := readSnapshot(t, exported.Keyless)
	if len(snap.Listeners) != 1 || !waits(snap, "inbound/15200") || snap.Clusters["c"] == nil {
		t.Errorf("without keys: %+v; want the listener that waits, and the cluster", snap)
	}
	if snap = readSnapshot(t, exported.All); len(snap.Listeners) != 2 || waits(snap, "inbound/15200") {
		t.Errorf("with keys: %+v", snap)
	}
}

// TestASuccessorIsLentSecrets by the one it takes over from, before or after it knows that it needs them.
func TestASuccessorIsLentSecrets(t *testing.T) {
	donor := NewStore()
	fill(t, donor, "1", secured(bySecrets("", "web")), certSecret("web", pairs()[0]))
	exported, err := donor.Export()
	if err != nil {
		t.Fatal(err)
	}
	p := newPlane(t) // without the secret
	p.set(secured(bySecrets("", "web")))
	late := follow(t, p.addr, nil)
	if s := late.next(); !waits(s, "inbound/15200") {
		t.Errorf("snapshot %+v", s)
	}
	late.client.Lend(read(t, exported.All))
	if s := late.next(); !shows(s, pairs()[0]) {
		t.Error("the listener still waits")
	}
	early := New(Config{Deliver: func(*config.Snapshot, LastGood) { t.Error("delivered too early") }})
	early.Lend(read(t, exported.All))
	fill(t, early.session.store, "1", secured(bySecrets("", "web")))
	if s := snapshot(t, early.session.store); !shows(s, pairs()[0]) {
		t.Error("what was lent is not used")
	}
	p.set(certSecret("web", pairs()[1]))
	late.until("the server's own is used", func(s *config.Snapshot) bool { return shows(s, pairs()[1]) })
}

// read is what a predecessor has, and readSnapshot what a successor serves with that.
func read(t *testing.T, lastGood []byte) *Store {
	t.Helper()
	s, err := Read(lastGood)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readSnapshot(t *testing.T, lastGood []byte) *config.Snapshot {
	t.Helper()
	snap, _ := read(t, lastGood).Snapshot()
	if err := snap.Validate(); err != nil {
		t.Fatal(err)
	}
	return snap
}

func TestASessionSubscribesToSecrets(t *testing.T) {
	s := session{store: NewStore()}
	fill(t, s.store, "1", secured(bySecrets("trust", "web")), certSecret("web", pairs()[0]))
	reqs := s.open(nil)
	last := reqs[len(reqs)-1]
	if diff := cmp.Diff([]string{"trust", "web"}, last.GetResourceNamesSubscribe()); diff != "" || last.GetTypeUrl() != TypeSecret {
		t.Errorf("%s, subscribes to (-want +got):\n%s", last.GetTypeUrl(), diff)
	}
	if diff := cmp.Diff(map[string]string{"web": "1"}, last.GetInitialResourceVersions()); diff != "" {
		t.Errorf("versions held (-want +got):\n%s", diff)
	}
	if r := s.secrets(); r != nil {
		t.Errorf("again: %v", r)
	}
	if plain := (&session{store: NewStore()}); len(plain.open(nil)) != len(Types) {
		t.Error("a sidecar without TLS asks for secrets: of some servers it would get all")
	}
}

// FuzzSecret feeds bytes as a Secret: what is accepted can be used, and what is rejected says why without the key.
func FuzzSecret(f *testing.F) {
	for _, m := range []proto.Message{certSecret("s", pairs()[0]), trustSecret("s", pairs()[1].cert, exact(uri, "spiffe://m/a"), prefix(uri, "spiffe://m/")), trustSecret("s", "")} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	hidden := strings.Split(pairs()[0].key, "\n")[1]
	f.Fuzz(func(t *testing.T, b []byte) {
		r := res("1", certSecret("s", pairs()[0]))
		r.Resource.Value = b
		s := NewStore()
		fill(t, s, "1", secured(bySecrets("", "s")), securedCluster("c", "x", bySecrets("s")))
		if _, err := s.Update(TypeSecret, []*discoveryv3.Resource{r}, nil); err != nil && (err.Error() == "" || strings.Contains(err.Error(), hidden)) {
			t.Errorf("rejected: %v", err)
		}
		snap, _ := s.Snapshot()
		if err := snap.Validate(); err != nil {
			t.Errorf("an accepted secret makes an invalid snapshot: %v", err)
		}
		for _, l := range snap.Listeners {
			if _, err := handshake.Load(l.TLS, true); err != nil {
				t.Errorf("an accepted secret cannot be used: %v", err)
			}
		}
	})
}

// TestTicketKeysReachNoDisk: we resume nothing, but the same keys open the tickets of other proxies.
func TestTicketKeysReachNoDisk(t *testing.T) {
	const key = "a key that other proxies have, too"
	l := secured(bySecrets("", "web"))
	l.FilterChains[0].TransportSocket = socketOf(&tlsv3.DownstreamTlsContext{
		CommonTlsContext: bySecrets("", "web"),
		SessionTicketKeysType: &tlsv3.DownstreamTlsContext_SessionTicketKeys{
			SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{inline(key)}},
		},
	})
	s := NewStore()
	fill(t, s, "1", l, certSecret("web", pairs()[0]))
	exported, err := s.Export()
	if err != nil || !bytes.Contains(exported.All, []byte(key)) || bytes.Contains(exported.Keyless, []byte(key)) {
		t.Errorf("the key is where it should not be, or not where it should; %v", err)
	}
}

// TestWhatWaitsIsToldInOrder, the same each time: a page that changes says that something has changed.
func TestWhatWaitsIsToldInOrder(t *testing.T) {
	s := NewStore()
	fill(t, s, "1", inbound(), edsCluster("pay"))
	fill(t, s, "2", secured(bySecrets("", "web")), securedCluster("pay", "pay.test", bySecrets("trust")))
	want := `listener "inbound/15200" waits for secret "web"; its last version stays
cluster "pay" waits for secret "trust"; its last version stays`
	for range 20 {
		_, err := s.Snapshot()
		if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Fatalf("what waits (-want +got):\n%s", diff)
		}
	}
}
