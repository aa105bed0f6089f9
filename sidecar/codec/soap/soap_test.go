package soap_test

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/axlemesh/axle/sidecar/codec/soap"
)

const (
	ns11 = "http://schemas.xmlsoap.org/soap/envelope/"
	ns12 = "http://www.w3.org/2003/05/soap-envelope"
)

func envelope(ns, inside string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<s:Envelope xmlns:s="` + ns + `">` + inside + `</s:Envelope>`
}

func post(contentType, action, body string) *soap.Request {
	r := &soap.Request{Method: []byte("POST"), ContentType: []byte(contentType), Body: []byte(body)}
	if action != "-" {
		r.HasAction, r.Action = true, []byte(action)
	}
	return r
}

const xml11 = "text/xml; charset=utf-8"

func TestFind(t *testing.T) {
	quote := `<s:Body><m:GetQuote xmlns:m="http://example.com/stock"><m:symbol>X</m:symbol></m:GetQuote></s:Body>`
	deep := strings.Repeat("<a>", 60) + strings.Repeat("</a>", 60)
	cases := map[string]struct {
		in                 *soap.Request
		service, operation string // empty for none
	}{
		"an action":                        {post(xml11, `"http://example.com/stock/Quotes/Get"`, ""), "http://example.com/stock/Quotes", "Get"},
		"an action without quotes":         {post("TEXT/XML", "urn:stock:Quotes:Get", ""), "urn:stock:Quotes", "Get"},
		"an action with a number sign":     {post(xml11, `"urn:stock#Get"`, ""), "urn:stock", "Get"},
		"an action in the media type":      {post(`application/soap+xml; charset=utf-8; Action="http://e.x/Q/Get"`, "-", ""), "http://e.x/Q", "Get"},
		"without quotes":                   {post(`application/soap+xml;action=urn:q:Get;charset=x`, "-", ""), "urn:q", "Get"},
		"SOAP 1.2 has no such field":       {post(`application/soap+xml`, `"urn:q:Get"`, ""), "", ""},
		"an empty action, and a body":      {post(xml11, `""`, envelope(ns11, quote)), "http://example.com/stock", "GetQuote"},
		"no action, and a body":            {post("application/soap+xml", "-", envelope(ns12, quote)), "http://example.com/stock", "GetQuote"},
		"a header before the body":         {post(xml11, "", envelope(ns11, "<s:Header><t:x xmlns:t='u'><!-- </s:Header> --><![CDATA[</s:Header>]]>"+deep+"</t:x><e/></s:Header>"+quote)), "http://example.com/stock", "GetQuote"},
		"an empty header":                  {post(xml11, "", envelope(ns11, "<s:Header/>"+quote)), "http://example.com/stock", "GetQuote"},
		"a default namespace":              {post(xml11, "", `<Envelope xmlns="`+ns11+`"><Body><Get xmlns="urn:q"/></Body></Envelope>`), "urn:q", "Get"},
		"a namespace of the envelope":      {post(xml11, "", `<s:Envelope xmlns:s="`+ns11+`" xmlns:q='urn:q'><s:Body><q:Get/>`), "urn:q", "Get"},
		"a byte order mark":                {post(xml11, "", "\xef\xbb\xbf"+envelope(ns11, quote)), "http://example.com/stock", "GetQuote"},
		"a value with a bracket":           {post(xml11, "", `<s:Envelope a=">" xmlns:s="`+ns11+`"><s:Body><q:Get xmlns:q="urn:q">`), "urn:q", "Get"},
		"comments everywhere":              {post(xml11, "", envelope(ns11, "<!-- a --><?x y?>"+quote)), "http://example.com/stock", "GetQuote"},
		"MTOM with an action":              {post(`Multipart/Related; boundary="b"; type="application/xop+xml"; start-info="text/xml"`, `"urn:q:Get"`, ""), "urn:q", "Get"},
		"MTOM of SOAP 1.2":                 {post(`multipart/related; type="application/xop+xml"; start-info="application/soap+xml"; action="urn:q:Get"`, "-", ""), "urn:q", "Get"},
		"MTOM without an action":           {post(`multipart/related; type="application/xop+xml"; boundary=b`, `""`, "--b\r\nContent-Type: application/xop+xml\r\n\r\n"+envelope(ns11, quote)), "http://example.com/stock", "GetQuote"},
		"an envelope with attachments":     {post(`multipart/related; type="text/xml"; boundary=b`, `"urn:q:Get"`, ""), "urn:q", "Get"},
		"parts of something else":          {post(`multipart/related; type="text/html"; boundary=b`, `"urn:q:Get"`, ""), "", ""},
		"a part that is not there yet":     {post(`multipart/related; type="text/xml"; boundary=b`, "", "--b\r\nContent-Type: text/xml\r\n"), "", ""},
		"another method":                   {&soap.Request{Method: []byte("PUT"), ContentType: []byte(xml11), HasAction: true, Action: []byte("urn:q:Get")}, "", ""},
		"another media type":               {post("application/json", `"urn:q:Get"`, ""), "", ""},
		"XML without an action is no SOAP": {post(xml11, "-", envelope(ns11, quote)), "", ""},
		"an action of one part":            {post(xml11, `"Get"`, ""), "", ""},
		"an action with an escape":         {post(xml11, `"urn:q:\"Get"`, ""), "", ""},
		"a body that is not there yet":     {post(xml11, "", envelope(ns11, "<s:Bod")), "", ""},
		"a document type":                  {post(xml11, "", `<!DOCTYPE x [<!ENTITY e "urn:q">]>`+envelope(ns11, quote)), "", ""},
		"a reference in a namespace":       {post(xml11, "", envelope(ns11, `<s:Body><m:Get xmlns:m="urn:&amp;q"/></s:Body>`)), "", ""},
		"no namespace":                     {post(xml11, "", envelope(ns11, "<s:Body><Get/></s:Body>")), "", ""},
		"an unknown prefix":                {post(xml11, "", envelope(ns11, "<s:Body><q:Get/></s:Body>")), "", ""},
		"another envelope":                 {post(xml11, "", envelope("urn:other", quote)), "", ""},
		"nothing in the body":              {post(xml11, "", envelope(ns11, "<s:Body></s:Body>")), "", ""},
		"an empty body":                    {post(xml11, "", envelope(ns11, "<s:Body/>")), "", ""},
		"text in the body":                 {post(xml11, "", envelope(ns11, "<s:Body>x<q:Get xmlns:q='u'/></s:Body>")), "", ""},
		"another encoding":                 {post(xml11, "", `<?xml version="1.0" encoding="UTF-16"?>`+`<s:Envelope xmlns:s="`+ns11+`">`+quote), "", ""},
		"a header that is too deep":        {post(xml11, "", envelope(ns11, "<s:Header>"+deep+strings.Repeat("<a>", 70)+"</s:Header>"+quote)), "", ""},
		"a body beyond the bound":          {post(xml11, "", envelope(ns11, "<!--"+strings.Repeat(" ", 20_000)+"-->"+quote)), "", ""},
		"attributes that touch":            {post(xml11, "", `<s:Envelope a="b"xmlns:s="`+ns11+`">`+quote), "", ""},
		"a declaration without a prefix":   {post(xml11, "", envelope(ns11, `<s:Body><Get xmlns:="urn:q"/></s:Body>`)), "", ""},
		"an attribute without a value":     {post(xml11, "", `<s:Envelope a xmlns:s="`+ns11+`">`+quote), "", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, ok := soap.Find(tc.in)
			if ok != (tc.operation != "") || ok && (string(got.Service) != tc.service || string(got.Operation) != tc.operation) {
				t.Errorf("got %q and %q, %v; want %q and %q", got.Service, got.Operation, ok, tc.service, tc.operation)
			}
		})
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	r := post(xml11, "", envelope(ns11, `<s:Header><a/></s:Header><s:Body><m:Get xmlns:m="urn:q"/></s:Body>`))
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := soap.Find(r); !ok {
			t.Fatal("no call")
		}
	}); n > 0 {
		t.Errorf("%.1f allocations", n)
	}
}

// FuzzFind compares with encoding/xml: where that reads the first element of the body, too, it is the same.
func FuzzFind(f *testing.F) {
	for _, s := range []string{
		envelope(ns11, `<s:Body><m:Get xmlns:m="urn:q"/></s:Body>`), envelope(ns12, `<s:Header><a>x</a></s:Header><s:Body><Get xmlns="urn:q"/></s:Body>`),
		`<Envelope xmlns="` + ns11 + `"><Body a='"' xmlns:q="urn:q"><q:Get>`, `<!DOCTYPE x>`, "\xef\xbb\xbf<?xml version='1.0' encoding='utf-8'?><a:b/>",
	} {
		f.Add(xml11, "", s)
	}
	f.Add(`application/soap+xml;a="b";action="urn:q:Get"`, "", "")
	f.Add("text/xml", "urn:q:Get", "")
	f.Fuzz(func(t *testing.T, contentType, action, body string) {
		got, ok := soap.Find(post(contentType, action, body))
		if !ok {
			return
		}
		if len(got.Operation) == 0 || len(got.Service) == 0 {
			t.Fatalf("a call of %q and %q", got.Service, got.Operation)
		}
		if _, byAction := soap.Find(post(contentType, action, "")); byAction {
			return
		}
		name, err := first(body)
		if err == nil && !strings.Contains(body, "\r") && (name.Space != string(got.Service) || name.Local != string(got.Operation)) {
			t.Errorf("got %q and %q, encoding/xml reads %q and %q", got.Service, got.Operation, name.Space, name.Local)
		}
	})
}

// first is the name of the first element in the body of an envelope.
func first(document string) (xml.Name, error) {
	d := xml.NewDecoder(bytes.NewReader([]byte(strings.TrimPrefix(document, "\xef\xbb\xbf"))))
	body, depth := false, 0
	for {
		token, err := d.Token()
		if err != nil {
			return xml.Name{}, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			if body && depth == 2 {
				return token.Name, nil
			}
			body = body || depth == 1 && token.Name.Local == "Body" && (token.Name.Space == ns11 || token.Name.Space == ns12)
			depth++
		case xml.EndElement:
			depth--
		}
	}
}
