package xds

import (
	"bytes"
	"crypto/sha256"
	"os"
	"slices"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// kept checks that a store can be handed over: what it exports is imported whole, and exported the same.
func kept(t *testing.T, s *Store) {
	t.Helper()
	snap, _ := s.Snapshot()
	if err := snap.Validate(); err != nil {
		t.Errorf("the snapshot is invalid: %v", err)
	}
	out, err := s.Export()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"a successor": out.All, "a restart": out.Keyless} {
		again := NewStore()
		if problems, err := again.Import(b); problems != nil || err != nil {
			t.Errorf("%s cannot import it: %v, %v", name, problems, err)
			continue
		}
		second, err := again.Export()
		if err != nil || !bytes.Equal(second.All, b) {
			t.Errorf("%s exports something else, %v", name, err)
		}
	}
}

// FuzzImport takes what another release has kept, or anything with a good checksum.
func FuzzImport(f *testing.F) {
	golden, err := os.ReadFile("testdata/lastgood-1.golden")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden[len(lastGoodMagic)+sha256.Size:])
	for _, ms := range [][]proto.Message{
		{inbound(), outbound()}, {virtualHost("c", "k", "l"), edsCluster("c"), assignment("c", 1, 2)}, {inbound(), inbound()},
		{secured(bySecrets("t", "s")), certSecret("s", pairs()[0])}, {of(outbound(), labels{"app": "x"}), sourced(virtualHost("c", "a"), "b", label("app", "x"))},
	} {
		all := &discoveryv3.DeltaDiscoveryResponse{}
		for _, m := range ms {
			all.Resources = append(all.Resources, res("1", m))
		}
		b, err := proto.Marshal(all)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		b := slices.Concat(lastGoodMagic, sum[:], body)
		s, from := NewStore(), NewStore()
		if _, err := s.Import(b); err != nil {
			return
		}
		kept(t, s)
		if _, err := from.Import(b); err != nil {
			t.Errorf("imported once only: %v", err)
		}
		_ = s.lost(from)
		s.lend(from)
		kept(t, s)
	})
}

// FuzzTyped puts bytes where a listener, a cluster or a route has a message of a type of its own: what is accepted can be served, moved
// and started with.
func FuzzTyped(f *testing.F) {
	for place, m := range []proto.Message{
		routed(), tcpProxy("c"), logs(&filev3.FileAccessLog{Path: "/dev/stdout"}, anyOf(statusFrom(500), flagged())),
		&tlsv3.DownstreamTlsContext{CommonTlsContext: bySecrets("t", "s")}, &tlsv3.UpstreamTlsContext{CommonTlsContext: bySecrets("", "s"), Sni: "x"},
		edsCluster("c"), fullRule(), of(inbound(), labels{"app": "x"}).GetMetadata(),
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint8(place))
	}
	f.Fuzz(func(t *testing.T, b []byte, place uint8) {
		typed := func(a *anypb.Any) *anypb.Any { a.Value = b; return a }
		filter := func(l *listenerv3.Listener) *anypb.Any {
			return l.GetFilterChains()[0].GetFilters()[0].GetTypedConfig()
		}
		l, c := outbound(), edsCluster("c")
		var m proto.Message = l
		switch place % 8 {
		case 0:
			typed(filter(l))
		case 1:
			l = inbound()
			m = l
			typed(filter(l))
		case 2:
			one := &accesslogv3.AccessLog{}
			if proto.Unmarshal(b, one) != nil {
				return
			}
			hcm := routed()
			hcm.AccessLog = []*accesslogv3.AccessLog{one}
			l.FilterChains[0].Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: pack(hcm)}
		case 3:
			l.FilterChains[0].TransportSocket = socketOf(&tlsv3.DownstreamTlsContext{})
			typed(l.FilterChains[0].TransportSocket.GetTypedConfig())
		case 4:
			c.TransportSocket = socketOf(&tlsv3.UpstreamTlsContext{})
			typed(c.TransportSocket.GetTypedConfig())
			m = c
		case 5:
			if proto.Unmarshal(b, c) != nil {
				return
			}
			c.Name, m = "c", c
		case 6:
			h := &routev3.VirtualHost{}
			if proto.Unmarshal(b, h) != nil {
				return
			}
			h.Name, m = "h", h
		case 7:
			if l.Metadata = of(inbound(), nil).GetMetadata(); proto.Unmarshal(b, l.GetMetadata()) != nil {
				return
			}
		}
		s := NewStore()
		if _, err := s.Update(pack(m).GetTypeUrl(), []*discoveryv3.Resource{res("1", m)}, nil); err != nil && err.Error() == "" {
			t.Error("a rejection without a reason")
		}
		kept(t, s)
	})
}
