package proxy

import (
	"bytes"
	"encoding/base64"

	"github.com/axlemesh/axle/sidecar/codec/http1"
	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/config"
)

// maxH2CBody is the largest body of a request that HTTP/2 is offered with; all of it has to be there.
const maxH2CBody = 64 << 10

// h2c goes on in HTTP/2 when a request offers that and its endpoints speak it (RFC 7540 section 3.2): the request is the first
// stream. The offer is ignored otherwise, as it may be; it is not passed on. b begins with the request's head, of n bytes. is
// says that the request was taken, or that its body has to come first, for which nothing is taken.
func (c *httpClient) h2c(req *http1.Request, n int, b []byte) (taken int, is bool) {
	offer, ok := req.H2C()
	if !ok || c.conn.Cipher() != nil || !c.speaksHTTP2(req) {
		return 0, false
	}
	settings, err := base64.RawURLEncoding.DecodeString(string(offer))
	if err != nil {
		return 0, false
	}
	left, known := req.Body.Left()
	switch {
	case !known || left > maxH2CBody: // in chunks, and with trailers perhaps; or large
		return 0, false
	case uint64(len(b)-n) < left:
		return 0, c.from.Protocol == config.HTTP2 // which has no other way
	case c.w.http2.moved:
		c.conn.Pause() // whoever owns the connection after the handover reads on
		return 0, true
	}
	f := c.http2Fields(req)
	to := &http2Client{id: c.conn.ID, from: c.from}
	var first *http2.Stream
	out, first, err := to.proto.Upgrade(http1.AppendH2C(c.w.scratch[:0]), settings, f)
	if c.w.scratch = out; err != nil {
		return 0, false
	}
	c.conn.Write(out)
	c.become(to)
	end := n + int(left)
	to.first(first, f, b[n:end])
	return end + to.Data(c.conn, b[end:]), true
}

// speaksHTTP2 says that the endpoints of a request do: their listener is one of HTTP/2, or a connection to one of them is
// there that does.
func (c *httpClient) speaksHTTP2(req *http1.Request) bool {
	w := c.w
	if c.from.Protocol == config.HTTP2 {
		return true
	}
	if c.from.Cluster != "" {
		return w.fixed(&c.fixed, c.from).speaksHTTP2()
	}
	w.httpView.req = req
	r := w.routes.Match(w.hostKey(req.Target.Authority), req.Method, &w.httpView)
	return r != nil && w.targets[r.Index].first.speaksHTTP2()
}

func (c *cluster) speaksHTTP2() bool {
	if c == nil || c.http2 == nil {
		return false
	}
	for _, h := range c.http2.Hosts() {
		for _, up := range h.Conns {
			if up.proto.Settled() {
				return true
			}
		}
	}
	return false
}

// http2Fields is the head of a request as HTTP/2 has it (RFC 9113 section 8.2.2 and 8.3.1).
func (c *httpClient) http2Fields(req *http1.Request) *http2.Fields {
	f := &c.w.http2.turn.Fields
	f.Reset()
	f.Add(":method", string(req.Method))
	f.Add(":scheme", "http")
	if len(req.Target.Authority) > 0 {
		f.Add(":authority", string(req.Target.Authority))
	}
	path := string(req.Target.Path)
	switch {
	case req.Target.Form == http1.Asterisk || path == "" && string(req.Method) == "OPTIONS":
		path = "*"
	case path == "" || path[0] != '/':
		path = "/" + path
	}
	f.Add(":path", path)
	for i := range req.Len() {
		name, value := req.Field(i)
		lower := string(bytes.ToLower(name))
		switch lower {
		case "host", "connection", "upgrade", "http2-settings", "keep-alive", "proxy-connection", "transfer-encoding", "te", "expect":
			continue
		}
		if !req.Listed("Connection", lower) {
			f.Add(lower, string(value))
		}
	}
	if req.Listed("TE", "trailers") {
		f.Add("te", "trailers")
	}
	return f
}

// become makes to the handler of the connection.
func (c *httpClient) become(to *http2Client) {
	w, conn := c.w, c.conn
	c.pieces.stop()
	delete(w.clients, conn.ID)
	w.http2.clients[conn.ID] = to
	to.w, to.conn, conn.Handler = w, conn, to
}

// first takes the request that the connection was upgraded with.
func (c *http2Client) first(s *http2.Stream, f *http2.Fields, body []byte) {
	c.w.count.Requests[c.from.Direction]++
	x := c.w.newHTTP2Exchange(c, s)
	x.request.end = len(body) == 0
	x.begin(f)
	if x.over || len(body) == 0 {
		return
	}
	x.keep(body)
	x.copyData(body, true)
	x.request.take(body, true)
	x.settle()
}

// waits lets a client be read that has no request and was paused for a handover.
func (c *httpClient) waits() {
	if !c.x.active && !c.over && !c.conn.Closed() && !c.conn.Frozen() {
		c.conn.Resume()
		c.conn.Reread()
	}
}
