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
				Listeners: []Listener{{Name: "in", Address: ap("0.0.0.0:80"), Protocol: Bolt, Cluster: "c"}},
				Hosts:     map[string]*Host{"*": {Name: "*", Routes: []Route{{Cluster: "c"}}}},
				Clusters:  map[string]*Cluster{"c": {Name: "c", Connections: 1, Endpoints: []netip.AddrPort{ap("127.0.0.1:1"), ap("127.0.0.1:2")}}},
			},
		},
		"listeners": {
			snap: Snapshot{Listeners: []Listener{
				{},
				{Name: "a", Address: ap("127.0.0.1:1"), Protocol: 9, Direction: 9, Cluster: "none"},
				{Name: "a", Address: ap("127.0.0.1:1"), Protocol: Bolt},
				{Name: "any", Address: ap("127.0.0.1:0"), Protocol: Bolt},
				{Name: "any2", Address: ap("127.0.0.1:0"), Protocol: Bolt},
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
		"clusters": {
			snap: Snapshot{Clusters: map[string]*Cluster{
				"a": nil,
				"b": {Name: "x", ConnectTimeout: -1, MaxPending: -1, Endpoints: []netip.AddrPort{ap("127.0.0.1:2"), ap("127.0.0.1:0")}},
			}},
			want: []string{
				`cluster "a": it is nil`,
				`cluster "b": its own name is "x"`,
				`cluster "b": endpoint 1: 127.0.0.1:0 is no address to connect to`,
				`cluster "b": endpoint 1: 127.0.0.1:0 is out of order or there twice`,
				`cluster "b": connect timeout -1ns is negative`,
				`cluster "b": 0 connections to an endpoint are too few`,
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
