package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestValidate(t *testing.T) {
	cases := map[string]struct {
		snap Snapshot
		want []string
	}{
		"the zero value listens nowhere": {},
		"a whole configuration": {
			snap: Snapshot{
				Listeners: []Listener{
					{Name: "in", Address: ap("0.0.0.0:80"), Protocol: Bolt, Cluster: "c"},
					{Name: "told", Address: ap("0.0.0.0:81"), Protocol: Auto},
				},
				Hosts:    map[string]*Host{"*": {Name: "*", Routes: []Route{{Cluster: "c"}}}},
				Clusters: map[string]*Cluster{"c": {Name: "c", Connections: 1, Endpoints: []netip.AddrPort{ap("127.0.0.1:1"), ap("127.0.0.1:2")}}},
			},
		},
		"listeners": {
			snap: Snapshot{Listeners: []Listener{
				{},
				{Name: "a", Address: ap("127.0.0.1:1"), Protocol: 9, Direction: 9, Cluster: "none"},
				{Name: "a", Address: ap("127.0.0.1:1"), Protocol: Bolt},
				{Name: "any", Address: ap("127.0.0.1:0"), Protocol: Bolt},
				{Name: "any2", Address: ap("127.0.0.1:0"), Protocol: Bolt},
				{Name: "told", Address: ap("127.0.0.1:2"), Protocol: Auto, Cluster: "none"},
			}},
			want: []string{
				`listener 0: it has no name`,
				`listener 0: it has no address`,
				`listener 0: tcp carries no service to route by: it needs a cluster`,
				`listener "a": unknown protocol 9`,
				`listener "a": unknown direction 9`,
				`listener "a": there is no cluster "none"`,
				`listener "a": the name is used twice`,
				`listener "a": address 127.0.0.1:1 is taken by listener "a"`,
				`listener "told": there is no cluster "none"`,
			},
		},
		"TLS of listeners and clusters": {
			snap: Snapshot{
				Listeners: []Listener{
					{Name: "a", Address: ap("127.0.0.1:1"), Protocol: Bolt, TLS: &TLS{}},
					{Name: "b", Address: ap("127.0.0.1:2"), Protocol: Bolt, TLS: &TLS{
						Certificates: []Certificate{Pair("c", "k")}, Name: "n", Peers: []string{"", "a*b", "shop.test/*", "spiffe://x/*", "shop.test"}, ALPN: []string{""}, MinVersion: 0x302,
					}},
					{Name: "good", Address: ap("127.0.0.1:3"), Protocol: Bolt, TLS: &TLS{Certificates: []Certificate{Pair("c", "k"), Pair("d", "l")}, Trust: PEM{File: "t"}, Permissive: true, MinVersion: 0x304}},
				},
				Clusters: map[string]*Cluster{
					"c": {Name: "c", Connections: 1, TLS: &TLS{Certificates: []Certificate{Pair("c", ""), Pair("d", "l")}, Permissive: true}},
					"d": {Name: "d", Connections: 1, TLS: &TLS{Name: "d.test", ALPN: []string{"http/1.1"}}},
				},
			},
			want: []string{
				`listener "a": tls: a listener needs a certificate and its key`,
				`listener "b": tls: peer 0: "" is neither a DNS name nor a URI, which may end with *`,
				`listener "b": tls: peer 1: "a*b" is neither a DNS name nor a URI, which may end with *`,
				`listener "b": tls: peer 2: "shop.test/*" is neither a DNS name nor a URI, which may end with *`,
				`listener "b": tls: alpn 0: "" does not have 1 to 255 bytes`,
				`listener "b": tls: version 0x302 is neither 1.2 nor 1.3`,
				`listener "b": tls: name "n" is for clusters`,
				`listener "b": tls: peers are named, and there is no trust to check them against`,
				`cluster "c": tls: certificate 0 and its key go together`,
				`cluster "c": tls: 2 certificates: a cluster shows one`,
				`cluster "c": tls: permissive is for listeners`,
				`cluster "c": tls: it needs a name or peers: else any certificate of a trusted root would do`,
			},
		},
		"hosts": {
			snap: Snapshot{Hosts: map[string]*Host{
				"a": nil,
				"b": {Name: "x"},
				"c": {Name: "c", Routes: []Route{{Cluster: "none", Timeout: -time.Second}}},
			}},
			want: []string{
				`host "a": it is nil`,
				`host "b": its own name is "x"`,
				`host "b": it has no routes`,
				`host "c": route 0: there is no cluster "none"`,
				`host "c": route 0: timeout -1s is negative`,
			},
		},
		"routes": {
			snap: Snapshot{
				Hosts: map[string]*Host{"a": {Name: "a", Routes: []Route{
					{},
					{Cluster: "c", Status: 99, Attempts: 11, Mirror: &Mirror{Cluster: "none", Numerator: 2, Denominator: 1}},
					{Split: []Share{{Cluster: "c"}, {Cluster: "none"}}, Mirror: &Mirror{Cluster: "c"}},
					{Split: []Share{{Cluster: "c", Weight: 1 << 31}, {Cluster: "c", Weight: 1 << 31}}},
					{Status: 503, Matches: []Match{
						{}, {Name: ":scheme"}, {Name: "x", Value: "y"}, {Name: "x", Kind: MatchPrefix}, {Name: "x", Kind: 9},
						{Name: "x", Kind: MatchRegex, Value: "a)|(b"}, {Name: "x", Kind: MatchRegex, Value: "(abc){200}"},
						{Name: "x", Kind: MatchRegex, Value: strings.Repeat("a", 1025)},
					}},
				}}},
				Clusters: map[string]*Cluster{"c": {Name: "c", Connections: 1}},
			},
			want: []string{
				`host "a": route 0: it needs one of a cluster, a split, a status and a redirect, and has 0`,
				`host "a": route 1: status 99 is not between 200 and 599`,
				`host "a": route 1: it needs one of a cluster, a split, a status and a redirect, and has 2`,
				`host "a": route 1: mirror: there is no cluster "none"`,
				`host "a": route 1: mirror: 2 in 1 is no fraction up to 1`,
				`host "a": route 1: 11 attempts are not between 1 and 10`,
				`host "a": route 2: split 1: there is no cluster "none"`,
				`host "a": route 2: split: the weights add up to 0, which is not between 1 and 4294967295`,
				`host "a": route 2: mirror: 0 in 0 is no fraction up to 1`,
				`host "a": route 3: split: the weights add up to 4294967296, which is not between 1 and 4294967295`,
				`host "a": route 4: match 0: it names no header`,
				`host "a": route 4: match 1: name ":scheme" is none of :method, :path and a header's`,
				`host "a": route 4: match 2: present compares with no value, such as "y"`,
				`host "a": route 4: match 3: an empty prefix is what present is for`,
				`host "a": route 4: match 4: unknown kind 9`,
				"host \"a\": route 4: match 5: regex \"a)|(b\": error parsing regexp: unexpected ): `a)|(b`",
				`host "a": route 4: match 6: regex "(abc){200}": the expression compiles to 1004 instructions, more than 500`,
				`host "a": route 4: match 7: regex "` + strings.Repeat("a", 1025) + `": the expression has 1025 bytes, more than 1024`,
			},
		},
		"clusters": {
			snap: Snapshot{Clusters: map[string]*Cluster{
				"a": nil,
				"b": {Name: "x", ConnectTimeout: -1, MaxPending: -1, MaxConnections: -1, Endpoints: []netip.AddrPort{ap("127.0.0.1:2"), ap("127.0.0.1:0")}},
			}},
			want: []string{
				`cluster "a": it is nil`,
				`cluster "b": its own name is "x"`,
				`cluster "b": endpoint 1: 127.0.0.1:0 is no address to connect to`,
				`cluster "b": endpoint 1: 127.0.0.1:0 is out of order or there twice`,
				`cluster "b": connect timeout -1ns is negative`,
				`cluster "b": 0 connections to an endpoint are too few`,
				`cluster "b": the limit of connections -1 is negative`,
				`cluster "b": the limit of pending requests -1 is negative`,
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			if err := tc.snap.Validate(); err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}
