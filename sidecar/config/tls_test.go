package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestHiddenIsNotShown(t *testing.T) {
	s := &Snapshot{Listeners: []Listener{{Name: "in", TLS: &TLS{Certificates: []Certificate{{
		Chain: PEM{Secret: "web", Sent: Hide([]byte("chain"))}, Key: PEM{Secret: "web", Sent: Hide([]byte("the key"))},
	}}}}}}
	dump, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{string(dump), fmt.Sprintf("%+v", *s.Listeners[0].TLS)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown = append(shown, fmt.Sprintf(verb, s.Listeners[0].TLS.Certificates))
	}
	for _, text := range shown {
		if strings.Contains(text, "the key") || strings.Contains(text, fmt.Sprintf("%x", "the key")) || !strings.Contains(text, "web") && !strings.Contains(text, "776562") {
			t.Errorf("%s", text)
		}
	}
	if got := s.Listeners[0].TLS.Certificates[0].Key.Sent.Reveal(); string(got) != "the key" {
		t.Errorf("revealed %q", got)
	}
}

func TestPeers(t *testing.T) {
	long := strings.Repeat("a", 256)
	cases := map[string]string{ // want, "" for a good one
		"shop.test":                    "",
		"spiffe://mesh":                "",
		"spiffe://mesh.test/ns/a-b/s_": "",
		"spiffe://mesh/*":              "",
		"spiffe://mesh/ns/sho*":        "",
		"https://host/path/*":          "",
		"spiffe://mesh*":               "put a / before",
		"https://host*":                "put a / before",
		"spiffe://*":                   "put a / before",
		"*":                            "neither a DNS name",
		"*.shop.test":                  "neither a DNS name",
		"shop*":                        "neither a DNS name",
		"spiffe://me*sh/*":             "neither a DNS name",
		"SPIFFE://mesh/a":              "begins with spiffe://",
		"spiffe:///a":                  "trust domain has",
		"spiffe://Mesh/a":              "trust domain has",
		"spiffe://mesh:1/a":            "trust domain has",
		"spiffe://u@mesh/a":            "trust domain has",
		"spiffe://" + long + "/a":      "trust domain has",
		"spiffe://mesh/":               `segment ""`,
		"spiffe://mesh/a/":             `segment ""`,
		"spiffe://mesh//a":             `segment ""`,
		"spiffe://mesh/../a":           `segment ".."`,
		"spiffe://mesh/./*":            `segment "."`,
		"spiffe://mesh/a%2fb":          `segment "a%2fb"`,
		"spiffe://mesh/a?q":            `segment "a?q"`,
		"spiffe://mesh/a#f*":           `segment "a#f"`,
		"spiffe://mesh/" + strings.Repeat("a", 2048): "2048 bytes",
	}
	for peer, want := range cases {
		t.Run(peer[:min(len(peer), 40)], func(t *testing.T) {
			err := CheckPeer(peer)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
}
