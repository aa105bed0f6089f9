package proxy

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/codec/bolt"
	"github.com/axlemesh/axle/sidecar/codec/http1"
	record "github.com/axlemesh/axle/sidecar/codec/tls"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
)

func states() map[string]*connState {
	addr := netip.MustParseAddrPort("[2001:db8::1]:12200")
	image := loop.Image{ID: 7 << 40, In: []byte("half a fr"), Out: []byte("unsent"), Rx: 1 << 33, Tx: 5, EOF: true, Paused: true}
	var post http1.Request
	if _, err := post.Decode([]byte("POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n"), http1.Limits{}); err != nil {
		panic(err)
	}
	session, err := record.New(record.Secrets{
		Version: record.VersionTLS13, Suite: 0x1301, ClientTraffic: make([]byte, 32), ServerTraffic: make([]byte, 32),
	})
	if err != nil {
		panic(err)
	}
	underTLS := image
	underTLS.Cipher, underTLS.Raw, underTLS.Ended = &secured{Session: session, chain: [][]byte{[]byte("leaf"), []byte("root")}}, []byte("half a rec"), true
	listener := config.Listener{Name: "outbound/bolt", Address: addr, Protocol: config.Bolt, Direction: config.Outbound}
	dubbo, auto := listener, listener
	dubbo.Protocol, auto.Protocol = config.Dubbo, config.Auto
	return map[string]*connState{
		"a client":                           {role: roleDownstream, image: image, listener: listener},
		"a client that has said nothing yet": {role: roleAccepted, image: image, listener: listener},
		"an undecided client":                {role: roleAccepted, image: image, listener: auto},
		"an undecided client under TLS":      {role: roleHTTPClient, image: underTLS, listener: auto},
		"a client under TLS":                 {role: roleDownstream, image: underTLS, listener: listener},
		"a plain client":                     {role: roleTCPClient, image: image, listener: listener},
		"a plain endpoint":                   {role: roleTCPEndpoint, image: image, cluster: "inbound/80", endpoint: addr, client: 9},
		"an HTTP client that rests":          {role: roleHTTPClient, image: image, listener: listener},
		"an HTTP client in its request": {role: roleHTTPClient, image: image, listener: listener, exchange: exchangeState{
			active: true, exchange: post.Exchange(), request: post.Body, cluster: "shop", head: []byte("POST /"), sent: true, closing: true,
			attempt: 2, left: time.Second,
		}},
		"an HTTP client whose route has a plan": {role: roleHTTPClient, image: image, listener: listener, exchange: exchangeState{
			active: true, exchange: post.Exchange(), request: post.Body, cluster: "shop", head: []byte("POST /"), attempt: 9, left: time.Second,
			route: "shop.demo#3", age: time.Minute, abort: 503, again: true,
		}},
		"an HTTP endpoint": {
			role: roleHTTPEndpoint, image: image, cluster: "shop", endpoint: addr, client: 9, used: true, reusable: true,
		},
		"a Dubbo client": {role: roleDubboClient, image: image, listener: dubbo},
		"a Dubbo endpoint with requests": {
			role: roleDubboEndpoint, image: image, cluster: "outbound/a/b/80", endpoint: addr,
			waiting: []waitingState{
				{slot: 3, down: 5, from: config.Outbound, reply: rpcReply{id: 1<<64 - 1, protocol: config.Dubbo}, left: time.Minute},
				{slot: 4, beat: true, reply: rpcReply{protocol: config.Dubbo}},
			},
		},
		"an HTTP/2 client": {role: roleHTTP2Client, image: image, listener: listener, http2: []byte("streams")},
		"an HTTP/2 endpoint": {
			role: roleHTTP2Endpoint, image: image, cluster: "shop", endpoint: addr, leaving: true, http2: []byte("streams"),
		},
		"an endpoint with requests whose route has a plan": {
			role: roleUpstream, image: image, cluster: "outbound/a/b/80", endpoint: addr,
			waiting: []waitingState{
				{slot: 1, down: 5, reply: rpcReply{protocol: config.Bolt}, left: time.Second},
				{slot: 2, down: 5, reply: rpcReply{protocol: config.Bolt}, left: time.Second, plan: planState{route: "a#1", age: time.Minute}},
				{slot: 3, down: 6, reply: rpcReply{protocol: config.Bolt}, left: time.Second, plan: planState{route: "a#1", age: 1, attempts: 2, tries: 1, again: true, frame: []byte("frame")}},
			},
		},
		"an endpoint with requests": {
			role: roleUpstream, image: image, cluster: "outbound/a/b/80", endpoint: addr, leaving: true,
			waiting: []waitingState{
				{slot: 3 << 20, down: 5, from: config.Outbound, reply: rpcReply{1<<32 - 1, config.Bolt, bolt.V2CRC, 11}, left: 3 * time.Second},
				{slot: 1, beat: true, reply: rpcReply{protocol: config.Bolt}},
			},
		},
	}
}

var exported = cmp.Options{
	cmp.AllowUnexported(connState{}, waitingState{}, rpcReply{}, planState{}, exchangeState{}, http1.Body{}),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(bytes.Equal),
	cmp.Comparer(func(a, b *secured) bool {
		return a == b || a != nil && b != nil && bytes.Equal(a.AppendBinary(nil), b.AppendBinary(nil)) && slices.EqualFunc(a.chain, b.chain, bytes.Equal)
	}),
}

func TestStateComesBack(t *testing.T) {
	for name, want := range states() {
		t.Run(name, func(t *testing.T) {
			b := want.write()
			if plain := !want.planned() && want.image.Cipher == nil; plain != (b[0] == statePlain) {
				t.Errorf("version %d: what the first can say is written in it", b[0])
			}
			got, err := parseState(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, exported); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
			for n := range b {
				if _, err := parseState(b[:n]); err == nil {
					t.Errorf("the first %d of %d bytes were accepted", n, len(b))
				}
			}
			if _, err := parseState(append(b, 0)); err == nil {
				t.Error("a byte too many was accepted")
			}
		})
	}
}

func FuzzState(f *testing.F) {
	for _, s := range states() {
		f.Add(s.write())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		again, err := parseState(s.write())
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if diff := cmp.Diff(s, again, exported); diff != "" {
			t.Errorf("state changed (-first +second):\n%s", diff)
		}
	})
}

func FuzzRelay(f *testing.F) {
	l := config.Listener{Name: "out", Direction: config.Outbound}
	f.Add((&relayState{kind: relayRequest, down: 1, listener: l, frame: []byte("frame")}).write())
	f.Add((&relayState{kind: relayAnswer, down: 1, frame: []byte("frame")}).write())
	f.Add((&relayState{kind: relayGone, down: 1 << 60}).write())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parseRelay(b)
		if !ok {
			return
		}
		again, ok := parseRelay(r.write())
		if diff := cmp.Diff(r, again, exported, cmp.AllowUnexported(relayState{})); !ok || diff != "" {
			t.Errorf("relay changed (-first +second):\n%s", diff)
		}
	})
}
