package static

import (
	"crypto/tls"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/config"
)

const withTLS = `
static:
  listeners:
  - name: in
    address: ":12200"
    protocol: bolt
    cluster: app
    tls: {mode: permissive, certificate: c.pem, key: c.key, trust: ca.pem, peers: ["spiffe://mesh/ns/shop/*"], alpn: [x], minVersion: "1.3",
      certificates: [{certificate: e.pem, key: e.key}]}
  clusters:
  - name: app
    endpoints: ["127.0.0.1:1"]
    tls: {certificate: d.pem, key: d.key, trust: ca.pem, serverName: app.test, peers: [app.test], alpn: [y], minVersion: "1.2"}
`

func TestTLSBlocks(t *testing.T) {
	b, err := Parse("b.yaml", []byte(withTLS))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Snapshot(b.Static)
	if err != nil {
		t.Fatal(err)
	}
	want := []*config.TLS{
		{
			Permissive: true, Certificates: []config.Certificate{config.Pair("c.pem", "c.key"), config.Pair("e.pem", "e.key")},
			Trust: config.PEM{File: "ca.pem"}, Peers: []string{"spiffe://mesh/ns/shop/*"}, ALPN: []string{"x"},
			MinVersion: tls.VersionTLS13,
		},
		{
			Certificates: []config.Certificate{config.Pair("d.pem", "d.key")}, Trust: config.PEM{File: "ca.pem"}, Name: "app.test", Peers: []string{"app.test"}, ALPN: []string{"y"},
			MinVersion: tls.VersionTLS12,
		},
	}
	if diff := cmp.Diff(want, []*config.TLS{got.Listeners[0].TLS, got.Clusters["app"].TLS}); diff != "" {
		t.Errorf("blocks (-want +got):\n%s", diff)
	}
	b.Static.Listeners[0].TLS.Mode, b.Static.Listeners[0].TLS.MinVersion = "lax", "1.1"
	b.Static.Clusters[0].TLS.ServerName, b.Static.Clusters[0].TLS.Peers = "", nil
	_, err = Snapshot(b.Static)
	wrong := `static.listeners[0].tls.mode: "lax" is neither strict nor permissive
static.listeners[0].tls.minVersion: "1.1" is neither 1.2 nor 1.3
cluster "app": tls: it needs a name or peers: else any certificate of a trusted root would do`
	if err == nil || err.Error() != wrong {
		t.Errorf("%v, want\n%s", err, wrong)
	}
}

// Over TLS, HTTP/2 is agreed on; grpc-go does without it for nobody.
func TestHTTP2IsAgreedOn(t *testing.T) {
	cases := map[string]struct {
		protocol, alpn string
		want           []string
	}{
		"http2":                  {protocol: "http2", want: []string{"h2"}},
		"grpc":                   {protocol: "grpc", want: []string{"h2"}},
		"what the file says":     {protocol: "grpc", alpn: ", alpn: [grpc-exp, h2]", want: []string{"grpc-exp", "h2"}},
		"other protocols do not": {protocol: "bolt"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b, err := Parse("b.yaml", []byte(`
static:
  listeners:
  - {name: in, address: ":12200", protocol: `+tc.protocol+`, cluster: app, tls: {certificate: c.pem, key: c.key`+tc.alpn+`}}
  clusters:
  - {name: app, endpoints: ["127.0.0.1:1"]}
`))
			if err != nil {
				t.Fatal(err)
			}
			got, err := Snapshot(b.Static)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got.Listeners[0].TLS.ALPN); diff != "" {
				t.Errorf("protocols (-want +got):\n%s", diff)
			}
		})
	}
}
