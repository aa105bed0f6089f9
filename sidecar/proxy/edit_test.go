package proxy_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/codec/change"
	"github.com/axlemesh/axle/sidecar/config"
)

func TestHTTPMessagesAreChanged(t *testing.T) {
	for p, web := range webs(t) {
		t.Run(fmt.Sprint("protocol ", p), func(t *testing.T) { messagesAreChanged(t, p, web) })
	}
}

func messagesAreChanged(t *testing.T, p config.Protocol, web func(netip.AddrPort) *http.Client) {
	o := newOrigin(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "secret")
		w.Header().Set("X-Kept", "yes")
	})
	addr := freePort(t)
	started(t, 1, ruled(addr, p, map[string]netip.AddrPort{"v1": o.addr}, config.Route{Cluster: "v1", Edit: &config.Edit{
		Request: []change.Field{
			{Op: change.Set, Name: "X-Set", Value: "new"}, {Op: change.Add, Name: "X-Add", Value: "two"},
			{Op: change.Absent, Name: "X-Absent", Value: "no"}, {Op: change.Absent, Name: "X-Missing", Value: "here"},
			{Op: change.Remove, Name: "x-remove"},
		},
		Response: []change.Field{{Op: change.Remove, Name: "server"}, {Op: change.Set, Name: "X-Via", Value: "axle"}},
		Host:     "inner.demo:8080", Prefix: "/api/", With: "/v2/",
	}}))
	c := web(addr)
	for path, want := range map[string]string{"/api/a?b=/api/": "/v2/a?b=/api/", "/other": "/other", "/api/": "/v2/"} {
		req, err := http.NewRequest("GET", "http://shop.demo"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"X-Set": {"old"}, "X-Add": {"one"}, "X-Absent": {"old"}, "X-Remove": {"a", "b"}}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		got := http.Header{}
		for _, name := range []string{"X-Set", "X-Add", "X-Absent", "X-Missing", "X-Remove"} {
			if v := o.last.Header[name]; v != nil {
				got[name] = v
			}
		}
		wantHeader := http.Header{"X-Set": {"new"}, "X-Add": {"one", "two"}, "X-Absent": {"old"}, "X-Missing": {"here"}}
		if diff := cmp.Diff(wantHeader, got); diff != "" {
			t.Errorf("%s: headers at the endpoint (-want +got):\n%s", path, diff)
		}
		if o.last.RequestURI != want || o.last.Host != "inner.demo:8080" {
			t.Errorf("%s became %s at %s, want %s", path, o.last.RequestURI, o.last.Host, want)
		}
		if h := res.Header; h.Get("Server") != "" || h.Get("X-Via") != "axle" || h.Get("X-Kept") != "yes" {
			t.Errorf("%s: the client has got %v", path, h)
		}
	}
}

func TestRedirects(t *testing.T) {
	cases := map[string]struct {
		redirect config.Redirect
		path     string
		want     string
	}{
		"a scheme":              {config.Redirect{Scheme: "https"}, "/a?b=c", "https://shop.demo/a?b=c"},
		"a host":                {config.Redirect{Host: "other.demo"}, "/a", "//other.demo/a"},
		"a port":                {config.Redirect{Port: 8443}, "/a", "//shop.demo:8443/a"},
		"all of it":             {config.Redirect{Scheme: "https", Host: "o.demo", Port: 1, With: "/z", DropQuery: true}, "/a?b", "https://o.demo:1/z"},
		"a path":                {config.Redirect{With: "/z"}, "/a?b", "/z?b"},
		"a prefix":              {config.Redirect{Prefix: "/a", With: "/"}, "/a/b?c", "/b?c"},
		"a prefix that is none": {config.Redirect{Prefix: "/x", With: "/y"}, "/a/b?c", "/a/b?c"},
	}
	for name, tc := range cases {
		for p, web := range webs(t) {
			t.Run(fmt.Sprint(name, ", protocol ", p), func(t *testing.T) {
				addr := freePort(t)
				r := tc.redirect
				r.Status = 307
				started(t, 1, ruled(addr, p, map[string]netip.AddrPort{}, config.Route{Redirect: &r}))
				c := web(addr)
				c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				res, err := c.Get("http://shop.demo" + tc.path)
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				if got := res.Header.Get("Location"); res.StatusCode != 307 || got != tc.want {
					t.Errorf("status %d to %q, want %q", res.StatusCode, got, tc.want)
				}
			})
		}
	}
}

// moreRules match by what only some requests have.
var moreRules = []config.Route{
	{Matches: []config.Match{{Name: "?user", Kind: config.MatchExact, Value: "ann"}}, Status: 201},
	{Matches: []config.Match{{Name: "user", Kind: config.MatchRange, From: -5, To: 10}}, Status: 202},
	{Matches: []config.Match{{Name: "user", Kind: config.MatchSuffix, Value: "-7"}}, Status: 203},
	{Matches: []config.Match{{Name: "user", Kind: config.MatchContains, Value: "middle"}}, Status: 204},
	{Matches: []config.Match{{Name: "user", Kind: config.MatchExact, Value: "bob", Invert: true}}, Status: 205},
	{Matches: []config.Match{{Name: "user", Invert: true}}, Status: 206},
	{Status: 207},
}

func TestHTTPIsRoutedByMore(t *testing.T) {
	addr := freePort(t)
	started(t, 1, ruled(addr, config.HTTP1, map[string]netip.AddrPort{}, moreRules...))
	c := web(addr)
	cases := map[string]struct {
		path string
		user []string
		want int
	}{
		"a parameter":          {"/?x=1&user=ann&user=bob", []string{"bob"}, 201},
		"the first counts":     {"/?user=bob&user=ann", []string{"bob"}, 207},
		"in the range":         {"/", []string{"-5"}, 202},
		"out of the range":     {"/", []string{"10"}, 205},
		"no number":            {"/", []string{"1x"}, 205},
		"a suffix":             {"/", []string{"ann-7"}, 203},
		"a part":               {"/", []string{"in the middle of"}, 204},
		"not what is excepted": {"/", []string{"bob"}, 207},
		"nothing at all":       {"/", nil, 206},
	}
	for name, tc := range cases {
		if got, _ := fetch(t, c, "GET", tc.path, nil, tc.user...); got != tc.want {
			t.Errorf("%s: status %d, want %d", name, got, tc.want)
		}
	}
}

func TestASplitSticks(t *testing.T) {
	v1, _, _ := counting(t, "v1", 0)
	v2, _, _ := counting(t, "v2", 0)
	addr := freePort(t)
	r := config.Route{Split: []config.Share{{Cluster: "v1", Weight: 1}, {Cluster: "v2", Weight: 1}}, Sticky: "user"}
	started(t, 2, ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": v1, "v2": v2}, r))
	at := map[string]string{}
	both := map[string]bool{}
	for i := range 100 {
		user := string(rune('a' + i%20))
		_, body := fetch(t, web(addr), "GET", "/", nil, user)
		if before, ok := at[user]; ok && before != body {
			t.Errorf("user %s went to %s and to %s", user, before, body)
		}
		at[user], both[body] = body, true
	}
	if len(both) != 2 {
		t.Errorf("20 users went to %v only", both)
	}
}
