package record_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"

	record "github.com/axlemesh/axle/sidecar/codec/tls"
)

// Types of records.
const (
	alert     = 21
	hand      = 22
	appliance = 23
)

// TestAPeerFollowsOurKeyUpdates lets crypto/tls answer KeyUpdates, which it never begins itself.
func TestAPeerFollowsOurKeyUpdates(t *testing.T) {
	for _, server := range []bool{false, true} {
		l := connect(t, mode{server: server, version: record.VersionTLS13})
		for range 3 {
			l.talk([]byte("before"))
			update := l.session.SealAs(nil, hand, []byte{24, 0, 0, 1, 1}) // asks for one in return
			if err := l.session.Rekey(); err != nil {
				t.Fatal(err)
			}
			_, _ = l.raw.Write(update)
			l.talk(noise(40_000))
			l.move()
		}
	}
}

// TestKeyUpdatesInBothDirections cuts KeyUpdates and tickets at every byte, with a freeze at each.
func TestKeyUpdatesInBothDirections(t *testing.T) {
	client := connect(t, mode{version: record.VersionTLS13}).session
	messages := append([]byte{4, 0, 0, 9}, noise(9)...) // a ticket, which a client ignores
	messages = append(messages, 24, 0, 0, 1, 1)
	for cut := range messages {
		ours, peer := pairOf(t, client)
		var in []byte
		for _, piece := range [][]byte{messages[:cut], messages[cut:]} {
			if len(piece) > 0 {
				in = peer.SealAs(in, hand, piece)
			}
		}
		if err := peer.Rekey(); err != nil {
			t.Fatal(err)
		}
		in = peer.Seal(in, []byte("under the new key"))
		var plain []byte
		for len(in) > 0 {
			got, n, err := ours.Open(in)
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			plain, in = append(plain, got...), in[n:]
			var parseErr error
			if ours, parseErr = record.Parse(ours.AppendBinary(nil)); parseErr != nil {
				t.Fatalf("cut at %d: %v", cut, parseErr)
			}
		}
		if string(plain) != "under the new key" {
			t.Errorf("cut at %d: %q", cut, plain)
		}
		out := ours.Seal(nil, []byte("answer"))
		_, n, err := peer.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := peer.Open(out[n:]); err != nil || string(got) != "answer" {
			t.Errorf("cut at %d: behind our KeyUpdate %q, %v", cut, got, err)
		}
	}
}

func TestAKeyIsNotUsedForEver(t *testing.T) {
	ours, peer := pairOf(t, connect(t, mode{version: record.VersionTLS13}).session)
	ours.Written(record.RekeyAfter - 1)
	peer.Read(record.RekeyAfter - 1)
	out := ours.Seal(nil, noise(3*record.MaxPlain))
	var records []int
	for len(out) > 0 {
		plain, n, err := peer.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		records, out = append(records, len(plain)), out[n:]
	}
	if len(records) != 4 || records[1] != 0 {
		t.Errorf("records of %v bytes, want a KeyUpdate behind the first", records)
	}
	peer.Written(math.MaxUint64)
	ours.Read(math.MaxUint64)
	if _, _, err := ours.Open(peer.Seal(nil, []byte("x"))); err == nil {
		t.Error("a record number was used twice")
	}
}

func TestWhatNoPeerMaySend(t *testing.T) {
	type records [][]byte // type, then content
	rec := func(typ byte, b ...byte) []byte { return append([]byte{typ}, b...) }
	empty := func(n int) (all records) {
		for range n {
			all = append(all, rec(appliance))
		}
		return all
	}
	cases := map[string]struct {
		m    mode
		in   records
		want uint8 // the alert
	}{
		"a ticket for a server":           {mode{server: true, version: record.VersionTLS13}, records{rec(hand, 4, 0, 0, 1, 0)}, 10},
		"a request for a certificate":     {mode{version: record.VersionTLS13}, records{rec(hand, 13, 0, 0, 1, 0)}, 10},
		"an empty handshake record":       {mode{version: record.VersionTLS13}, records{rec(hand)}, 10},
		"an endless ticket":               {mode{version: record.VersionTLS13}, records{rec(hand, 4, 255, 0, 0)}, 50},
		"a long KeyUpdate":                {mode{version: record.VersionTLS13}, records{rec(hand, 24, 0, 0, 2)}, 50},
		"a KeyUpdate of another kind":     {mode{version: record.VersionTLS13}, records{rec(hand, 24, 0, 0, 1, 2)}, 47},
		"a message behind a KeyUpdate":    {mode{version: record.VersionTLS13}, records{rec(hand, 24, 0, 0, 1, 0, 24)}, 10},
		"data inside a handshake message": {mode{version: record.VersionTLS13}, records{rec(hand, 4, 0), rec(appliance, 1)}, 10},
		"a renegotiation":                 {mode{server: true, version: record.VersionTLS12, suite: 0xC02B}, records{rec(hand, 1, 0, 0, 0)}, 100},
		"a HelloRequest":                  {mode{version: record.VersionTLS12, suite: 0xC02B}, records{rec(hand, 0, 0, 0, 0)}, 100},
		"a short alert":                   {mode{version: record.VersionTLS13}, records{rec(alert, 2)}, 50},
		"an inner type of old":            {mode{version: record.VersionTLS13}, records{rec(20, 1)}, 10},
		"nothing, again and again":        {mode{version: record.VersionTLS13}, empty(33), 10},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			ours, peer := pairOf(t, connect(t, tc.m).session)
			var err error
			for _, r := range tc.in {
				if err != nil {
					t.Fatalf("too early: %v", err)
				}
				_, _, err = ours.Open(peer.SealAs(nil, r[0], r[1:]))
			}
			wrong := (*record.Error)(nil)
			if !errors.As(err, &wrong) || wrong.Alert != tc.want {
				t.Fatalf("%v, want alert %d", err, tc.want)
			}
			_, _, told := peer.Open(ours.End(nil, err))
			if told != record.AlertError(tc.want) { //nolint:errorlint // nothing wraps it
				t.Errorf("the peer was told %v", told)
			}
		})
	}
}

func TestAlertsOfThePeer(t *testing.T) {
	ours, peer := pairOf(t, connect(t, mode{version: record.VersionTLS12, suite: 0xC02B}).session)
	if _, _, err := ours.Open(peer.SealAs(nil, alert, []byte{1, 41})); err != nil {
		t.Errorf("a warning of TLS 1.2: %v", err)
	}
	if _, _, err := ours.Open(peer.SealAs(nil, alert, []byte{2, 48})); err != record.AlertError(48) { //nolint:errorlint // nothing wraps it
		t.Errorf("%v, want alert 48", err)
	}
	if _, _, err := ours.Open(peer.End(nil, nil)); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want EOF", err)
	}
	if _, n, err := ours.Open(bytes.Repeat([]byte("?"), 40)); n != 40 || !errors.Is(err, io.EOF) {
		t.Errorf("behind close_notify: %d bytes taken, %v; want all, EOF", n, err)
	}
	if b := ours.End(nil, errors.New("a timeout")); len(b) > 0 {
		t.Errorf("a reason that is no alert was said in %d bytes", len(b))
	}
}
