package static

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/config"
)

const whole = `
node: {id: here, version: v1, generation: 2}
admin: 127.0.0.1:13331
meshAPI: 127.0.0.1:13330
handover:
  socket: "@axle/test"
  keyFile: /run/key
loops: 2
memoryLimitBytes: 1048576
static:
  listeners:
  - {name: in, address: ":12200", protocol: bolt, cluster: app}
  - {name: out, address: "127.0.0.1:12220", protocol: bolt}
  - {name: dubbo, address: "127.0.0.1:12230", protocol: dubbo}
  - {name: web, address: "127.0.0.1:12280", protocol: http1}
  - {name: web2, address: "127.0.0.1:12281", protocol: http2}
  - {name: rpc, address: "127.0.0.1:12282", protocol: grpc}
  routes:
  - {service: "*", cluster: app, timeout: 800ms}
  clusters:
  - name: app
    endpoints: ["localhost:2", "127.0.0.1:1", "127.0.0.1:2"]
    connections: 4
`

func TestParseAndSnapshot(t *testing.T) {
	b, err := Parse("b.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(b); err != nil {
		t.Fatal(err)
	}
	wantNode := bootstrap.Node{ID: "here", Version: "v1", Generation: 2}
	if diff := cmp.Diff(wantNode, b.Node); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
	if b.Handover.KeyFile != "/run/key" || b.Loops != 2 || b.MemoryLimitBytes != 1<<20 {
		t.Errorf("handover %+v, loops %d, memory %d", b.Handover, b.Loops, b.MemoryLimitBytes)
	}
	got, err := Snapshot(b.Static)
	if err != nil {
		t.Fatal(err)
	}
	ap := netip.MustParseAddrPort
	want := &config.Snapshot{
		Version: "static",
		Listeners: []config.Listener{
			{Name: "in", Address: ap("0.0.0.0:12200"), Protocol: config.Bolt, Direction: config.Inbound, Cluster: "app"},
			{Name: "out", Address: ap("127.0.0.1:12220"), Protocol: config.Bolt, Direction: config.Outbound},
			{Name: "dubbo", Address: ap("127.0.0.1:12230"), Protocol: config.Dubbo, Direction: config.Outbound},
			{Name: "web", Address: ap("127.0.0.1:12280"), Protocol: config.HTTP1, Direction: config.Outbound},
			{Name: "web2", Address: ap("127.0.0.1:12281"), Protocol: config.HTTP2, Direction: config.Outbound},
			{Name: "rpc", Address: ap("127.0.0.1:12282"), Protocol: config.HTTP2, Direction: config.Outbound},
		},
		Hosts: map[string]*config.Host{"*": {Name: "*", Routes: []config.Route{{Name: "*", Cluster: "app", Timeout: 800 * time.Millisecond}}}},
		Clusters: map[string]*config.Cluster{"app": {
			Name: "app", ConnectTimeout: time.Second, Connections: 4, Balancing: config.Balancing{Panic: 50},
			Endpoints: []netip.AddrPort{ap("127.0.0.1:1"), ap("127.0.0.1:2")},
		}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
}

func TestParseReportsEveryMistakeWithItsLine(t *testing.T) {
	cases := map[string]struct{ in, want string }{
		"unknown fields": {
			in: "node: {id: x, colour: red}\nadmn: y\n",
			want: `f:1: unknown field "colour"; known here: container, generation, id, inPlace, ip, namespace, pod, version, zone
f:2: unknown field "admn"; known here: accessLog, admin, handover, loops, memoryLimitBytes, meshAPI, node, operator, overload, slot, static, terminationGraceSeconds, tracing`,
		},
		"wrong kinds": {
			in: "node: here\nloops: many\nstatic:\n  listeners: {}\n  clusters:\n  - name: [a]\n",
			want: `f:1: want fields, have "here"
f:2: want int, have "many"
f:4: want a list, have fields
f:6: want a string, have a list`,
		},
		"half a number":       {in: "loops: 1.5\n", want: "f:1: want int, have \"1.5\""},
		"a field twice":       {in: "loops: 1\nloops: 2\n", want: "f:2: field \"loops\" is there twice, first in line 1"},
		"an alias":            {in: "node: &n {id: x}\nhandover: *n\n", want: "f:2: aliases are not supported"},
		"an empty file":       {in: "", want: "f: the file is empty"},
		"JSON, as well":       {in: "{\"node\": {\"id\": 1},\n \"x\": 2}", want: `f:2: unknown field "x"; known here: accessLog, admin, handover, loops, memoryLimitBytes, meshAPI, node, operator, overload, slot, static, terminationGraceSeconds, tracing`},
		"what is not YAML":    {in: "a: b: c", want: "f: yaml: mapping values are not allowed in this context"},
		"null leaves a field": {in: "operator: null\nloops: ~\n", want: ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f", []byte(tc.in))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	b := &bootstrap.Bootstrap{
		Operator: &bootstrap.Operator{Address: "x"}, Static: &bootstrap.Static{},
		Admin: "0.0.0.0:1", MeshAPI: "y", Loops: 65, MemoryLimitBytes: -1, TerminationGraceSeconds: -1,
	}
	got := Check(b).Error()
	for _, want := range []string{
		"node.id: ", "node.version: ", "node.generation: 0", "exclude each other", "operator.address: ", "operator.serverName: ",
		"operator.ca: ", "admin: 0.0.0.0:1 is not on loopback", "meshAPI: ", "loops: 65", "memoryLimitBytes: -1", "terminationGraceSeconds: -1",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not among the mistakes:\n%s", want, got)
		}
	}
}

func TestCheckSlot(t *testing.T) {
	good := func() bootstrap.Bootstrap {
		return bootstrap.Bootstrap{
			Node:     bootstrap.Node{ID: "uid"},
			Operator: &bootstrap.Operator{Address: "operator:15010", ServerName: "operator", CA: "pem"},
			Slot:     &bootstrap.Slot{Name: "a", Dir: "/var/run/axle", File: "/etc/axle/slots", TokenFile: "/etc/axle/token"},
		}.Defaulted(1)
	}
	cases := map[string]struct {
		change func(*bootstrap.Bootstrap)
		want   string
	}{
		"good":           {change: func(*bootstrap.Bootstrap) {}},
		"no slot":        {change: func(b *bootstrap.Bootstrap) { b.Slot = nil }, want: `slot.name: "" is neither a nor b`},
		"another name":   {change: func(b *bootstrap.Bootstrap) { b.Slot.Name = "c" }, want: `slot.name: "c" is neither a nor b`},
		"relative paths": {change: func(b *bootstrap.Bootstrap) { b.Slot.File = "slots" }, want: `slot.file: "slots" is no absolute path`},
		"no operator":    {change: func(b *bootstrap.Bootstrap) { b.Operator = nil }, want: "operator: it is missing"},
		"not expanded":   {change: func(b *bootstrap.Bootstrap) { b.Node.ID = "$(AXLE_POD_UID)" }, want: "was not expanded"},
		"all the rest":   {change: func(b *bootstrap.Bootstrap) { b.Loops = 65 }, want: "loops: 65"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := good()
			tc.change(&b)
			err := CheckSlot(&b)
			if tc.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestSnapshotReportsEveryMistake(t *testing.T) {
	_, err := Snapshot(&bootstrap.Static{
		Listeners: []bootstrap.Listener{
			{Name: "a", Address: "nowhere", Protocol: "http"},
			{Name: "b", Address: "example.com:80", Protocol: bootstrap.Bolt, Cluster: "none"},
		},
		Routes: []bootstrap.Route{{Cluster: "c"}, {Service: "s", Cluster: "c", Timeout: "soon"}, {Service: "s", Cluster: "c"}},
		Clusters: []bootstrap.Cluster{
			{},
			{Name: "c", Endpoints: []string{"1.2.3.4:99999"}, ConnectTimeout: "-1s"},
			{Name: "c"},
		},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`static.listeners[0].address: address nowhere: missing port`, `static.listeners[0].protocol: "http" is none of tcp, bolt, dubbo, http1, http2, grpc, auto`,
		`static.listeners[1].address: host "example.com" is no IP address`, `static.routes[0].service: it is missing`,
		`static.routes[1].timeout: time: invalid duration "soon"`, `static.routes[2].service: "s" has a route already`,
		`static.clusters[0].name: it is missing`, `static.clusters[1].endpoints[0]: port "99999"`,
		`static.clusters[1].connectTimeout: -1s is not positive`, `static.clusters[2].name: "c" is used twice`,
		`listener "b": there is no cluster "none"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not among the mistakes:\n%v", want, err)
		}
	}
}

func TestParseEnvIgnoresNewerFields(t *testing.T) {
	b, err := ParseEnv(`{"node":{"id":"x","new":1},"newer":{}}`)
	if err != nil || b.Node.ID != "x" {
		t.Errorf("ParseEnv = %+v, %v", b, err)
	}
	if _, err := ParseEnv("{"); err == nil {
		t.Error("half a JSON object was accepted")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(rules))
	f.Add([]byte(guarded))
	f.Add([]byte("node: &a [*a]"))
	f.Add([]byte(`{"static":{"listeners":[{"address":":99999"}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Parse("f", data)
		if err != nil {
			return
		}
		_ = Check(b)
		if b.Static == nil {
			return
		}
		if s, err := Snapshot(b.Static); err == nil {
			if err := s.Validate(); err != nil {
				t.Errorf("an accepted snapshot is invalid: %v", err)
			}
		}
	})
}

func TestUnixEndpoints(t *testing.T) {
	b, err := Parse("b.yaml", []byte(`
static:
  listeners:
  - {name: in, address: ":12200", protocol: bolt, cluster: app}
  clusters:
  - name: app
    endpoints: ["unix:@app", "unix:///run/app.sock", "127.0.0.1:1"]
    traits: [{endpoint: "unix:@app", weight: 3}]
`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Snapshot(b.Static)
	if err != nil {
		t.Fatal(err)
	}
	dump, err := json.Marshal(got.Clusters["app"])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"Endpoints":["127.0.0.1:1","unix:///run/app.sock","unix:@app"]`, `"Traits":{"unix:@app":{"Weight":3`} {
		if !strings.Contains(string(dump), want) {
			t.Errorf("the cluster is %s, want %s", dump, want)
		}
	}
	b.Static.Clusters[0].Endpoints = []string{"unix:app.sock", "unix://app.sock", "unix:@app"}
	b.Static.Listeners[0].Address = "unix:///run/in.sock"
	_, err = Snapshot(b.Static)
	for _, want := range []string{
		`static.clusters[0].endpoints[0]: "unix:app.sock" is neither unix:///path nor unix:@name`,
		`static.clusters[0].endpoints[1]: "unix://app.sock" has a host: write unix:///path`,
		`static.listeners[0].address: `,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
