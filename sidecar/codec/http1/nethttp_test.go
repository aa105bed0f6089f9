package http1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/codec/http1"
)

// message is what both readers must agree on.
type message struct {
	Method, Target, Host string
	Status               int
	Fields               http.Header
	Body                 string
	Close                bool
	Rest                 string // behind the message
}

// likeNetHTTP compares the first request of b with what net/http makes of it, when both accept it. It says whether they
// did.
func likeNetHTTP(t *testing.T, b []byte) bool {
	t.Helper()
	ours, ok := readOurs(b)
	if !ok {
		return false
	}
	in := bufio.NewReader(bytes.NewReader(b[leading(b):]))
	r, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	rest, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	if r.Close && r.ProtoAtLeast(1, 1) && !strings.Contains(strings.ToLower(fmt.Sprint(r.Header["Connection"])), "close") {
		t.Fatalf("net/http closes %q", b)
	}
	theirs := message{
		Method: r.Method, Target: r.RequestURI, Host: r.Host, Fields: r.Header, Body: string(body), Close: r.Close, Rest: string(rest),
	}
	delete(theirs.Fields, "Transfer-Encoding")
	for _, m := range []*message{&ours, &theirs} {
		delete(m.Fields, "Transfer-Encoding") // net/http takes it out of the fields, and Host too
		delete(m.Fields, "Host")
		delete(m.Fields, "Trailer")
		delete(m.Fields, "Content-Length")
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Fatalf("%q (-net/http +ours):\n%s", b, diff)
	}
	return true
}

// leading is the length of the empty line before a request, which net/http does not skip.
func leading(b []byte) int {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return 2
	}
	return 0
}

func readOurs(b []byte) (m message, ok bool) {
	var r http1.Request
	n, err := r.Decode(b, http1.Limits{})
	if err != nil {
		return m, false
	}
	target := string(b[leading(b)+len(r.Method)+1:])
	m = message{
		Method: string(r.Method), Target: target[:strings.IndexByte(target, ' ')], Host: string(r.Target.Authority),
		Fields: fieldsOf(&r.Head), Close: !r.Exchange().KeepAlive,
	}
	m.Body, m.Rest, ok = bodyOf(r.Body, b[n:])
	return m, ok
}

func fieldsOf(h *http1.Head) http.Header {
	fields := http.Header{}
	for i := range h.Len() {
		name, value := h.Field(i)
		key := http.CanonicalHeaderKey(string(name))
		fields[key] = append(fields[key], string(value))
	}
	return fields
}

func bodyOf(body http1.Body, b []byte) (content, rest string, ok bool) {
	for {
		data, n, err := body.Payload(b)
		if err != nil {
			return "", "", false
		}
		content += string(data)
		if b = b[n:]; n == 0 {
			return content, string(b), body.Done() || body.Kind() == http1.Close
		}
	}
}

// responseLikeNetHTTP is likeNetHTTP for a response to x.
func responseLikeNetHTTP(t *testing.T, b []byte, x http1.Exchange) bool {
	t.Helper()
	if x.Connect || x.Upgrade || len(b) > 1<<20 {
		return false // net/http reads those as an ordinary message
	}
	var ours http1.Response
	n, err := ours.Decode(b, http1.Limits{}, x)
	if err != nil {
		return false
	}
	content, rest, ok := bodyOf(ours.Body, b[n:])
	if !ok {
		return false
	}
	request := &http.Request{Method: "GET"}
	if x.Head {
		request.Method = "HEAD"
	}
	in := bufio.NewReader(bytes.NewReader(b))
	r, err := http.ReadResponse(in, request)
	if err != nil {
		return false
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	left, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	for name := range r.Header {
		if strings.ContainsAny(name, " \t") {
			return false // a proxy has to remove what net/http takes for a part of the name (RFC 9112 section 5.1)
		}
	}
	want := message{Status: r.StatusCode, Fields: r.Header, Body: string(body), Rest: string(left), Close: r.Close}
	got := message{Status: ours.Status, Fields: fieldsOf(&ours.Head), Body: content, Rest: rest, Close: !ours.Reusable()}
	for _, m := range []*message{&want, &got} {
		delete(m.Fields, "Connection")
		delete(m.Fields, "Transfer-Encoding")
		delete(m.Fields, "Trailer")
		delete(m.Fields, "Content-Length")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%q (-net/http +ours):\n%s", b, diff)
	}
	return true
}

// TestLikeNetHTTP puts messages together from parts: both readers must accept every one of them and see the same.
func TestLikeNetHTTP(t *testing.T) {
	lines := []string{"GET / HTTP/1.1", "POST /a/b?c=d&e HTTP/1.1", "PUT /%7Ba HTTP/1.0", "HEAD http://b.example:8080/x HTTP/1.1", "OPTIONS * HTTP/1.1", "DELETE /a;b=c,d HTTP/1.1"}
	fields := []string{"", "A: b\r\n", "a:\tx \r\nA: y\r\nA-b_c~: \xe4\r\n", "Connection: close\r\n", "Connection: keep-alive\r\n", "Expect: 100-continue\r\n"}
	bodies := []string{
		"\r\n", "Content-Length: 0\r\n\r\n", "Content-Length: 11\r\n\r\nhello world", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n00c;x=y\r\n world again\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n",
	}
	compared := 0
	for _, first := range lines {
		for _, field := range fields {
			for _, body := range bodies {
				if strings.Contains(first, "HTTP/1.0") && strings.Contains(body, "Transfer") {
					continue
				}
				for _, behind := range []string{"", get + "\r\n"} {
					b := first + "\r\nHost: a.example\r\n" + field + body + behind
					if !likeNetHTTP(t, []byte(b)) {
						t.Errorf("%q was not accepted by both", b)
					}
					compared++
				}
			}
		}
	}
	for _, first := range []string{"HTTP/1.1 200 OK", "HTTP/1.1 404 ", "HTTP/1.0 500 a b c", "HTTP/1.1 304 Not Modified", "HTTP/1.1 204 No"} {
		for _, field := range fields {
			for _, body := range bodies {
				if strings.Contains(first, "HTTP/1.0") && strings.Contains(body, "Transfer") {
					continue
				}
				for _, x := range []http1.Exchange{{Minor: 1}, {Minor: 1, Head: true}} {
					b := first + "\r\n" + field + body
					if !responseLikeNetHTTP(t, []byte(b), x) {
						t.Errorf("%q to %+v was not accepted by both", b, x)
					}
					compared++
				}
			}
		}
	}
	t.Logf("compared %d messages", compared)
}
