package xds

import (
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestWhatASuccessorWouldLose is what its predecessor has and it refuses, as long as that is so.
func TestWhatASuccessorWouldLose(t *testing.T) {
	taken := meshListener("l", 80, managed(func(*hcmv3.HttpConnectionManager) {}))
	refused := meshListener("l", 80, func(l *listenerv3.Listener) { l.UseOriginalDst = wrapperspb.Bool(true) })
	never := meshListener("never", 81, func(l *listenerv3.Listener) { l.UseOriginalDst = wrapperspb.Bool(true) })

	had := NewStore()
	fill(t, had, "1", taken)
	good, err := had.Export()
	if err != nil {
		t.Fatal(err)
	}
	older := NewStore() // of a release that takes what this one refuses
	older.types[TypeListener]["l"] = resource{raw: &discoveryv3.Resource{Name: "l", Resource: pack(refused)}}
	bad, err := older.Export()
	if err != nil {
		t.Fatal(err)
	}
	const why = `Listener "l": use_original_dst: connections are not taken over`
	for _, c := range []struct {
		name string
		has  []byte
		told func(s *Store)
		want string
	}{
		{"nobody has said anything, and it can be read", good.All, nil, ""},
		{"nobody has said anything, and it cannot be read", bad.All, nil, why},
		{"the server has sent what is taken", bad.All, func(s *Store) { fill(t, s, "2", taken) }, ""},
		{"the server has sent what is refused", good.All, func(s *Store) { spoil(s, refused) }, why},
		{"an earlier version stays", good.All, func(s *Store) { fill(t, s, "1", taken); spoil(s, refused) }, ""},
		{"it was refused, and then taken", good.All, func(s *Store) { spoil(s, refused); fill(t, s, "2", taken) }, ""},
		{"it was refused, and then deleted", good.All, func(s *Store) { spoil(s, refused); _, _ = s.Update(TypeListener, nil, []string{"l"}) }, ""},
		{"the predecessor does not have it either", good.All, func(s *Store) { spoil(s, never) }, ""},
		{"the server does not send it any more", bad.All, func(*Store) {}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := New(Config{})
			if c.told != nil {
				c.told(client.session.store)
				client.delivered = true
			}
			err := client.Lost(read(t, c.has))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("lost: %v, want %q", err, c.want)
			}
		})
	}
	if _, err := Read([]byte("rubbish")); err == nil {
		t.Error("rubbish was read")
	}
}

// TestWhatIsRefusedStaysAsItWas with the predecessor, until the server sends something better, or deletes it.
func TestWhatIsRefusedStaysAsItWas(t *testing.T) {
	refused := meshListener("l", 80, func(l *listenerv3.Listener) { l.UseOriginalDst = wrapperspb.Bool(true) })
	had := NewStore()
	fill(t, had, "1", meshListener("l", 80, managed(func(*hcmv3.HttpConnectionManager) {})), meshListener("gone", 81, managed(func(*hcmv3.HttpConnectionManager) {})))
	version := func(s *Store) string { return s.Versions(TypeListener)["l"] }
	for _, first := range []bool{true, false} {
		s := NewStore()
		if first {
			spoil(s, refused)
		}
		if changed := s.lend(had); changed != first {
			t.Errorf("refused first %t: lending changes something: %t", first, changed)
		}
		if !first {
			spoil(s, refused)
		}
		if version(s) != "1" || len(s.types[TypeListener]) != 1 || s.lost(had) != nil {
			t.Errorf("refused first %t: %v, lost %v", first, s.Versions(TypeListener), s.lost(had))
		}
		fill(t, s, "3", meshListener("l", 82, managed(func(*hcmv3.HttpConnectionManager) {})))
		spoil(s, refused)
		if version(s) != "3" {
			t.Errorf("refused first %t: version %q, want the server's own", first, version(s))
		}
		if _, err := s.Update(TypeListener, nil, []string{"l"}); err != nil {
			t.Fatal(err)
		}
		if spoil(s, refused); version(s) != "" {
			t.Errorf("refused first %t: version %q is back after it was deleted", first, version(s))
		}
	}
}

// spoil sends a listener that is refused.
func spoil(s *Store, l *listenerv3.Listener) {
	_, _ = s.Update(TypeListener, []*discoveryv3.Resource{{Name: l.GetName(), Version: "2", Resource: pack(l)}}, nil)
}
