package xds

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/axlemesh/axle/sidecar/config"
)

func snapshot(t *testing.T, s *Store) *config.Snapshot {
	t.Helper()
	snap, problems := s.Snapshot()
	if problems != nil {
		t.Errorf("problems: %v", problems)
	}
	if err := snap.Validate(); err != nil {
		t.Errorf("the snapshot is invalid: %v", err)
	}
	return snap
}

func TestSnapshot(t *testing.T) {
	s := NewStore()
	fill(t, s, "1", inbound(), outbound(), edsCluster("outbound/shop/pay/12200"), assignment("outbound/shop/pay/12200", 15200, 12200),
		virtualHost("outbound/shop/pay/12200", "com.x.Pay:1.0", "pay.shop"), virtualHost("outbound/shop/none/1", "none.shop"))
	pay := []config.Route{{Cluster: "outbound/shop/pay/12200"}}
	want := &config.Snapshot{
		Version: "xds-1",
		Listeners: []config.Listener{
			{Name: "inbound/15200", Address: ap("0.0.0.0:15200"), Protocol: config.Bolt, Cluster: "inbound/12200"},
			{Name: "outbound/bolt", Address: ap("127.0.0.1:12220"), Protocol: config.Bolt, Direction: config.Outbound},
		},
		Hosts: map[string]*config.Host{
			"com.x.Pay:1.0": {Name: "com.x.Pay:1.0", Routes: pay},
			"pay.shop":      {Name: "pay.shop", Routes: pay},
			"none.shop":     {Name: "none.shop", Routes: []config.Route{{Cluster: "outbound/shop/none/1"}}},
		},
		Clusters: map[string]*config.Cluster{
			"outbound/shop/pay/12200": {Name: "outbound/shop/pay/12200", Connections: 1, ConnectTimeout: 2 * time.Second, Balancing: config.Balancing{Panic: 50}, Endpoints: []netip.AddrPort{ap("10.0.0.1:12200"), ap("10.0.0.1:15200")}},
			"outbound/shop/none/1":    {Name: "outbound/shop/none/1", Connections: 1},
			"inbound/12200":           {Name: "inbound/12200", Connections: 1, ConnectTimeout: time.Second, Endpoints: []netip.AddrPort{ap("127.0.0.1:12200")}},
		},
	}
	if diff := cmp.Diff(want, snapshot(t, s), equal); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
}

func TestSnapshotDoesNotChangeLater(t *testing.T) {
	s := NewStore()
	fill(t, s, "1", edsCluster("c"), assignment("c", 1))
	before := snapshot(t, s)
	fill(t, s, "2", assignment("c", 2))
	after := snapshot(t, s)
	if got := before.Clusters["c"].Endpoints[0]; got != ap("10.0.0.1:1") {
		t.Errorf("the earlier snapshot now says %s", got)
	}
	if got := after.Clusters["c"].Endpoints[0]; got != ap("10.0.0.1:2") {
		t.Errorf("the later snapshot says %s", got)
	}
}

func TestListenersOfOneAddress(t *testing.T) {
	s := NewStore()
	fill(t, s, "1", listener("a", "::", 1, corev3.TrafficDirection_INBOUND, FilterTCP, tcpProxy("inbound/1")),
		listener("b", "::", 1, corev3.TrafficDirection_INBOUND, FilterTCP, tcpProxy("inbound/2")))
	snap, problems := s.Snapshot()
	said(t, problems, `listener "b" is left out: listener "a" has its address [::]:1`)
	if err := snap.Validate(); err != nil || len(snap.Listeners) != 1 {
		t.Errorf("listeners %v, %v", snap.Listeners, err)
	}
}

func TestHostsOfOneDomain(t *testing.T) {
	s := NewStore()
	fill(t, s, "1", virtualHost("second", "b", "shared", "a"), virtualHost("first", "a", "shared"))
	hosts := snapshot(t, s).Hosts
	got := map[string]string{}
	for d, h := range hosts {
		got[d] = h.Routes[0].Cluster
	}
	want := map[string]string{"a": "first", "b": "second", "shared": "first"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("clusters by domain (-want +got):\n%s", diff)
	}
}

func TestUpdateKeepsTheLastGoodVersion(t *testing.T) {
	s := NewStore()
	fill(t, s, "1", assignment("good", 1), assignment("bad", 1), assignment("gone", 1))
	misnamed := res("2", assignment("x", 1))
	misnamed.Name = "y"
	changed, err := s.Update(TypeEndpoint, []*discoveryv3.Resource{
		res("2", assignment("good", 2)), res("2", assignment("bad", 99999)), misnamed, {Name: "empty"},
	}, []string{"gone", "never"})
	want := `ClusterLoadAssignment "bad": endpoints[0].lb_endpoints[0].endpoint.address: socket_address.port_value: 99999 is no port
ClusterLoadAssignment "y": it is named "x" inside: both names have to be the same
ClusterLoadAssignment "empty": the resource is missing`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("rejection (-want +got):\n%s", diff)
	}
	if !changed {
		t.Error("the good one was not taken")
	}
	if diff := cmp.Diff(map[string]string{"good": "2", "bad": "1"}, s.Versions(TypeEndpoint)); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	if _, err := s.Update("type.googleapis.com/other", nil, nil); err == nil {
		t.Error("a type that was not asked for was taken")
	}
}

func TestExportImport(t *testing.T) {
	s := NewStore()
	fill(t, s, "7", inbound(), outbound(), edsCluster("c"), assignment("c", 1), virtualHost("c", "k"))
	exported, err := s.Export()
	if err != nil {
		t.Fatal(err)
	}
	b := exported.All
	if !bytes.Equal(b, exported.Keyless) {
		t.Error("something without keys is left out of what may go to a disk")
	}
	again := NewStore()
	problems, err := again.Import(b)
	if problems != nil || err != nil {
		t.Fatalf("import: %v, %v", problems, err)
	}
	if diff := cmp.Diff(snapshot(t, s), snapshot(t, again), equal); diff != "" {
		t.Errorf("snapshot (-exported +imported):\n%s", diff)
	}
	for _, typ := range Types {
		if diff := cmp.Diff(s.Versions(typ), again.Versions(typ)); diff != "" {
			t.Errorf("versions of %s (-exported +imported):\n%s", typ, diff)
		}
	}
	for name, bad := range map[string][]byte{"empty": nil, "torn": b[:len(b)-1], "flipped": append(b[:len(b)-1:len(b)-1], b[len(b)-1]^1), "of a later format": append([]byte("axle-xds\x02"), b[9:]...)} {
		t.Run(name, func(t *testing.T) {
			if _, err := again.Import(bad); err == nil {
				t.Error("imported")
			}
			if n := len(again.Versions(TypeListener)); n != 2 {
				t.Errorf("%d listeners are left of 2", n)
			}
		})
	}
}

func TestSession(t *testing.T) {
	s := session{store: NewStore()}
	fill(t, s.store, "5", edsCluster("c"))
	node := &corev3.Node{Id: "pod"}
	reqs := s.open(node)
	var types []string
	for i, r := range reqs {
		types = append(types, r.GetTypeUrl())
		if (r.GetNode() != nil) != (i == 0) {
			t.Errorf("request %d: node %v; only the first carries it", i, r.GetNode())
		}
	}
	if diff := cmp.Diff(Types, types); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"c": "5"}, reqs[0].GetInitialResourceVersions()); diff != "" {
		t.Errorf("versions held (-want +got):\n%s", diff)
	}
	ack, changed, err := s.receive(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: TypeCluster, Nonce: "n1", RemovedResources: []string{"c"}})
	if !changed || err != nil {
		t.Errorf("changed %v, %v", changed, err)
	}
	if diff := cmp.Diff(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: TypeCluster, ResponseNonce: "n1"}, ack, protocmp.Transform()); diff != "" {
		t.Errorf("ACK (-want +got):\n%s", diff)
	}
	bad := make([]*discoveryv3.Resource, 200)
	for i := range bad {
		bad[i] = res("1", virtualHost("", "ключ"+strings.Repeat("é", i)))
	}
	nack, _, _ := s.receive(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: TypeHost, Nonce: "n2", Resources: bad})
	if d := nack.GetErrorDetail(); d.GetCode() != 3 || !strings.Contains(d.GetMessage(), `VirtualHost "ключ": routes[0]: route.cluster: name one cluster`) {
		t.Errorf("NACK %v", d)
	}
	if _, err := proto.Marshal(nack); err != nil || len(nack.GetErrorDetail().GetMessage()) > maxDetail {
		t.Errorf("the NACK cannot be sent: %v, %d bytes", err, len(nack.GetErrorDetail().GetMessage()))
	}
	if s.complete() {
		t.Error("complete with two types of four")
	}
	for _, typ := range []string{TypeEndpoint, TypeListener} {
		_, _, _ = s.receive(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: typ})
	}
	if !s.complete() {
		t.Error("not complete with all types")
	}
}

func FuzzUpdate(f *testing.F) {
	for _, m := range []proto.Message{inbound(), outbound(), edsCluster("c"), assignment("c", 1, 2), virtualHost("c", "k", "l"), secured(bySecrets("", "s")),
		securedCluster("c", "x", bySecrets("s")), certSecret("s", pairs()[0])} {
		b, err := proto.Marshal(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: pack(m).GetTypeUrl(), Resources: []*discoveryv3.Resource{res("1", m)}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &discoveryv3.DeltaDiscoveryResponse{}
		if proto.Unmarshal(b, r) != nil {
			return
		}
		s := session{store: NewStore()}
		s.open(nil)
		if _, _, err := s.receive(r); err != nil && err.Error() == "" {
			t.Error("a rejection without a reason")
		}
		snap, _ := s.store.Snapshot()
		if err := snap.Validate(); err != nil {
			t.Errorf("an accepted response makes an invalid snapshot: %v", err)
		}
		out, err := s.store.Export()
		if err != nil {
			t.Fatal(err)
		}
		if problems, err := NewStore().Import(out.All); problems != nil || err != nil {
			t.Errorf("what was exported cannot be imported: %v, %v", problems, err)
		}
	})
}

// TestALastGoodOfTheFirstFormatIsRead: what a release without secrets has left, with the sample of a TrafficRule in it.
func TestALastGoodOfTheFirstFormatIsRead(t *testing.T) {
	b, err := os.ReadFile("testdata/lastgood-1.golden")
	if err != nil {
		t.Fatal(err)
	}
	s := NewStore()
	if problems, err := s.Import(b); problems != nil || err != nil {
		t.Fatalf("import: %v, %v", problems, err)
	}
	if snap := snapshot(t, s); len(snap.Listeners) != 4 || len(snap.Clusters) != 7 || len(snap.Hosts["com.x.Pay:1.0"].Routes) < 3 {
		t.Errorf("snapshot %+v", snap)
	}
	if exported, err := s.Export(); err != nil || !bytes.Equal(exported.All, b) {
		t.Errorf("it is written in another way now, which that release has to read when it comes back; %v", err)
	}
}
