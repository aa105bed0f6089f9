package proxy

import (
	"testing"
)

func TestHostKey(t *testing.T) {
	cases := map[string]struct{ namespace, authority, want string }{
		"name and namespace":           {"", "shop.demo", "shop.demo"},
		"a port and capitals":          {"", "Shop.Demo:8080", "shop.demo"},
		"the short DNS name":           {"", "shop.demo.svc", "shop.demo"},
		"the whole DNS name":           {"", "shop.demo.svc.cluster.local:80", "shop.demo"},
		"an absolute DNS name":         {"", "shop.demo.svc.cluster.local.:80", "shop.demo"},
		"a namespace called svc":       {"own", "shop.svc", "shop.svc"},
		"a Service of one's namespace": {"own", "web:8080", "web.own"},
		"that, absolute":               {"own", "WEB.", "web.own"},
		"no namespace":                 {"", "web:8080", "web"},
		"nobody":                       {"own", "", ""},
		"an IPv4 address":              {"own", "10.0.0.1:80", "10.0.0.1"},
		"an IPv6 address":              {"own", "[FD00::1]:80", "[fd00::1]"},
		"a name outside":               {"own", "example.com", "example.com"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := &worker{engine: &Engine{options: Options{Namespace: tc.namespace}}}
			authority := []byte(tc.authority)
			if got := string(w.hostKey(authority)); got != tc.want {
				t.Errorf("hostKey(%q) = %q, want %q", tc.authority, got, tc.want)
			}
			if n := testing.AllocsPerRun(10, func() { w.hostKey(authority) }); n != 0 {
				t.Errorf("%v allocations, want 0", n)
			}
		})
	}
}
