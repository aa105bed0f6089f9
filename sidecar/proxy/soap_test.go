package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestSOAPIsRoutedByServiceAndOperation: what names a service that is known goes by it, everything else by its host.
func TestSOAPIsRoutedByServiceAndOperation(t *testing.T) {
	servers := map[string]netip.AddrPort{}
	for _, name := range []string{"web", "quotes", "refunds", "stock"} {
		servers[name], _, _ = counting(t, name, 0)
	}
	addr := freePort(t)
	s := ruled(addr, config.HTTP1, servers, config.Route{Cluster: "web"})
	s.Hosts["http://example.com/stock/Quotes"] = &config.Host{Name: "http://example.com/stock/Quotes", Routes: []config.Route{
		{Matches: []config.Match{{Name: config.MatchMethod, Kind: config.MatchExact, Value: "Refund"}}, Cluster: "refunds"},
		{Matches: []config.Match{{Name: config.MatchPath, Kind: config.MatchPrefix, Value: "/soap"}}, Cluster: "quotes"},
	}}
	s.Hosts["http://example.com/stock"] = &config.Host{Name: "http://example.com/stock", Routes: []config.Route{{Cluster: "stock"}}}
	started(t, 1, s)
	const envelope = `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><Get xmlns="http://example.com/stock"/></s:Body></s:Envelope>`
	cases := map[string]struct {
		contentType, action, body, want string
	}{
		"SOAP 1.1":              {"text/xml", `"http://example.com/stock/Quotes/Get"`, "", "quotes"},
		"its operation":         {"text/xml", `"http://example.com/stock/Quotes/Refund"`, "", "refunds"},
		"SOAP 1.2":              {`application/soap+xml; action="http://example.com/stock/Quotes/Get"`, "", "", "quotes"},
		"by the body":           {"text/xml", `""`, envelope, "stock"},
		"a service of nobody's": {"text/xml", `"urn:nobody:Get"`, "", "web"},
		"no SOAP":               {"application/json", `"http://example.com/stock/Quotes/Get"`, "{}", "web"},
	}
	chunked := fmt.Sprintf("POST /soap HTTP/1.1\r\nHost: shop.demo\r\nContent-Type: text/xml\r\nSOAPAction: \"\"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"+
		"%x;a=b\r\n%s\r\n0\r\n\r\n", len(envelope), envelope)
	if got := rawHTTP(t, addr, chunked); !strings.Contains(got, "\r\n\r\nstock") {
		t.Errorf("an envelope in chunks gets %q", got)
	}
	client := &http.Client{Timeout: 5 * time.Second}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequest(http.MethodPost, "http://"+addr.String()+"/soap", strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "shop.demo"
			req.Header.Set("Content-Type", tc.contentType)
			if tc.action != "" {
				req.Header.Set("SOAPAction", tc.action)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			got, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(got), tc.want) {
				t.Errorf("status %d, body %q, %v, want %q", resp.StatusCode, got, err, tc.want)
			}
		})
	}
}

// TestSOAPOverHTTP2 is routed by its header only.
func TestSOAPOverHTTP2(t *testing.T) {
	at := map[string]*origin{}
	to := map[string]netip.AddrPort{}
	for _, name := range []string{"web", "quotes", "refunds"} {
		at[name] = newOrigin(t, statusOnly(200))
		to[name] = at[name].addr
	}
	addr := freePort(t)
	s := ruled(addr, config.HTTP2, to, config.Route{Cluster: "web"})
	s.Hosts["urn:quotes"] = &config.Host{Name: "urn:quotes", Routes: []config.Route{
		{Matches: []config.Match{{Name: config.MatchMethod, Kind: config.MatchExact, Value: "Refund"}}, Cluster: "refunds"},
		{Matches: []config.Match{{Name: config.MatchPath, Kind: config.MatchPrefix, Value: "/soap"}}, Cluster: "quotes"},
	}}
	started(t, 1, s)
	c := web2(t, addr)
	for name, tc := range map[string]struct{ contentType, action, want string }{
		"SOAP 1.1":              {"text/xml; charset=utf-8", `"urn:quotes:Get"`, "quotes"},
		"its operation":         {"text/xml", `"urn:quotes:Refund"`, "refunds"},
		"SOAP 1.2":              {`application/soap+xml; action="urn:quotes:Refund"`, "", "refunds"},
		"a service of nobody's": {"text/xml", `"urn:nobody:Get"`, "web"},
		"without an action":     {"text/xml", `""`, "web"},
		"no SOAP":               {"application/json", `"urn:quotes:Get"`, "web"},
	} {
		before := at[tc.want].seen.Load()
		req, err := http.NewRequest(http.MethodPost, "http://shop.demo/soap", strings.NewReader("<x/>"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", tc.contentType)
		if tc.action != "" {
			req.Header.Set("SOAPAction", tc.action)
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if at[tc.want].seen.Load() != before+1 {
			t.Errorf("%s: it is not at %s", name, tc.want)
		}
	}
}
