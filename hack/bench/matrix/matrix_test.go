package matrix

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/hack/bench/certs"
	"github.com/axlemesh/axle/hack/bench/load"
	"github.com/axlemesh/axle/hack/bench/proc"
	"github.com/axlemesh/axle/hack/bench/report"
	"github.com/axlemesh/axle/sidecar/static"
)

func TestConfigSaysEveryMistake(t *testing.T) {
	good := Config{Repetitions: 1, Window: time.Second, Rate: 1, Held: 1, Crowd: 1}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	bad := Config{Only: []string{"http1", "gopher", "spdy"}}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`"gopher"`, `"spdy"`, "above 0", "memory, opinion"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v says nothing about %s", err, want)
		}
	}
}

func TestLoadsOfAProtocol(t *testing.T) {
	cases := map[string]struct {
		proxy proxy
		want  []string
	}{
		"RPC":      {proxy{name: report.Axle, protocol: load.Dubbo}, []string{"dubbo-open", "dubbo-64x1", "dubbo-4x32"}},
		"HTTP/1.1": {proxy{name: report.Nginx, protocol: load.TLS}, []string{"tls-open", "tls-64x1"}},
		"HTTP/2":   {proxy{name: report.Envoy, protocol: load.GRPC}, []string{"grpc-open", "grpc-4x32"}},
		"no proxy": {proxy{name: report.Direct, protocol: load.Bolt}, []string{"bolt-open"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, l := range (Config{Rate: 2000}).loads(tc.proxy) {
				got = append(got, l.Name)
				if (l.Rate > 0) != strings.HasSuffix(l.Name, "open") || l.Protocol != tc.proxy.protocol {
					t.Errorf("load %+v", l)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("loads (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCrowdFitsTheLimits(t *testing.T) {
	wide := proc.Limits{Descriptors: 1 << 20, Files: 1 << 20, Ports: 28000}
	with := func(change func(*proc.Limits)) proc.Limits { l := wide; change(&l); return l }
	cases := map[string]struct {
		limits proc.Limits
		want   int
		note   string
	}{
		"enough of all":        {wide, 20000, ""},
		"a few too few":        {with(func(l *proc.Limits) { l.Descriptors = 20000 }), 15700, "15700 idle connections instead of 20000"},
		"too few descriptors":  {with(func(l *proc.Limits) { l.Descriptors = 4096 }), 0, "ulimit -Hn"},
		"too few files in all": {with(func(l *proc.Limits) { l.Files = 50000 }), 0, "fs.file-max is 50000"},
		"too few ports":        {with(func(l *proc.Limits) { l.Ports = 1000 }), 0, "ip_local_port_range has 1000"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			n, note := crowd(20000, tc.limits)
			if n != tc.want || !strings.Contains(note, tc.note) || (note == "") != (tc.note == "") {
				t.Errorf("%d, %q; want %d, %q", n, note, tc.want, tc.note)
			}
		})
	}
}

// TestTheSidecarIsConfiguredAsItIsShipped holds the bootstraps of protocols that it has from the start against its parser.
func TestTheSidecarIsConfiguredAsItIsShipped(t *testing.T) {
	for _, p := range report.Protocols {
		d, ok := dialects[p]
		if !ok {
			t.Errorf("nothing is known of %s", p)
			continue
		}
		text := sidecarConfig(p, certs.In("/certs"), 7)
		for _, word := range []string{"CHAIN", "AUTHORITY", "HOST", "KEY"} {
			if strings.Contains(text, word) {
				t.Errorf("%s is left open:\n%s", word, text)
			}
		}
		if p != load.Bolt && p != load.HTTP {
			continue
		}
		b, err := static.Parse("bench.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := static.Check(b); err != nil {
			t.Error(err)
		}
		if l := b.Static.Listeners[0]; string(l.Protocol) != d.protocol || l.Address != axleAddr || b.Loops != 1 || b.Admin != axleAdmin {
			t.Errorf("bootstrap %+v", b)
		}
	}
}

func TestProxiesOfAProtocolAreTogether(t *testing.T) {
	b := &bench{Config: Config{Only: []string{"bolt", Memory}}}
	got := b.inTurn([]proxy{
		{name: report.Nginx, protocol: load.HTTP}, {name: report.Axle, protocol: load.Bolt}, {name: report.Axle, protocol: load.HTTP},
		{name: report.Axle, protocol: load.HTTP2}, {name: report.Direct, protocol: load.Bolt}, {name: report.HAProxy, protocol: load.TLS},
	})
	var names []string
	for _, p := range got {
		names = append(names, p.String())
	}
	if diff := cmp.Diff([]string{"axle, http1", "nginx, http1", "direct, bolt", "axle, bolt", "haproxy, tls"}, names); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	var out bytes.Buffer
	b := &bench{Config: Config{Out: &out, Repetitions: 1}, missing: report.Missing{}}
	b.without(report.Envoy, load.HTTP, errors.New("two\n  lines"))
	b.add(report.Row{Repetition: 1, Proxy: report.Axle, Load: "http1-held", AnonKB: 2048, ResidentKB: 4096, ConnKB: 1.5, Conns: 2000})
	const want = "na   envoy, http1: two lines\n" +
		"1/1  axle     http1-held     2.0 MB anonymous, 4.0 MB resident  2000 idle connections, 1.5 kB each\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	if len(b.missing) != 1 || len(b.rows) != 1 {
		t.Errorf("%v, %v", b.missing, b.rows)
	}
}
