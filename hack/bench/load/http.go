package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/axlemesh/axle/hack/bench/h2"
)

// pages makes and checks HTTP/1.1 messages of one size without allocating, like frames. There is one request at a time on a
// connection, and so its id is always 0.
type pages struct {
	stateless
	size     int
	request  []byte // with its body
	response []byte
}

func newPages(size int) *pages {
	p := &pages{size: size}
	body := Filler(size)
	p.request = fmt.Appendf(nil, "POST /bench/echo HTTP/1.1\r\nHost: %s\r\nUser-Agent: axle-bench\r\nAccept: */*\r\n"+
		"Content-Type: application/octet-stream\r\nX-Request-Id: 7f2c1c5e-6a3b-4d7e-9a51-0c1f2e3d4b5a\r\nX-Service: %s\r\nContent-Length: %d\r\n\r\n%s",
		Host, Service, size, body)
	p.response = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: axle-bench\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n"+
		"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n%s", size, body)
	return p
}

// Request implements client.
func (p *pages) Request(dst []byte, _ uint32, token uint64) []byte {
	dst = append(dst, p.request...)
	binary.BigEndian.PutUint64(dst[len(dst)-p.size:], token)
	return dst
}

var (
	success = []byte("HTTP/1.1 200 ")
	post    = []byte("POST ")
	crlf2   = []byte("\r\n\r\n")
	length  = []byte("\r\ncontent-length:")
)

// Answer implements client.
func (p *pages) Answer(b, dst []byte) (h2.Answer, []byte, error) {
	body, n, err := p.message(b, success)
	if n == 0 || err != nil {
		return h2.Answer{N: n}, dst, err
	}
	if last := body[p.size-1]; p.size > 8 && last != fill(p.size-1) {
		return h2.Answer{N: n}, dst, fmt.Errorf("the last byte is %q: %w", last, errWrong)
	}
	return h2.Answer{N: n, Done: true, Token: binary.BigEndian.Uint64(body)}, dst, nil
}

// Serve implements server.
func (p *pages) Serve(b, dst []byte) (n int, out []byte, err error) {
	body, n, err := p.message(b, post)
	if n == 0 || err != nil {
		return n, dst, err
	}
	dst = append(dst, p.response...)
	copy(dst[len(dst)-p.size:], body)
	return n, dst, nil
}

// message returns the body of the message that b begins with and the length of both, 0 when b ends inside it.
func (p *pages) message(b, first []byte) (body []byte, n int, err error) {
	end := bytes.Index(b, crlf2)
	if end < 0 {
		return nil, 0, nil
	}
	if !bytes.HasPrefix(b, first) {
		line, _, _ := bytes.Cut(b, crlf2[:2])
		return nil, 0, fmt.Errorf("a message that begins %q: %w", line, errWrong)
	}
	if got := contentLength(b[:end+2]); got != p.size {
		return nil, 0, fmt.Errorf("a message of %d bytes, -1 for none said: %w", got, errWrong)
	}
	from := end + len(crlf2)
	if len(b) < from+p.size {
		return nil, 0, nil
	}
	return b[from : from+p.size], from + p.size, nil
}

// contentLength is what a head says, or -1.
func contentLength(head []byte) int {
	for i := bytes.IndexByte(head, '\r'); i >= 0 && i+len(length) < len(head); {
		if rest := head[i:]; bytes.EqualFold(rest[:len(length)], length) {
			value := rest[len(length):]
			value = bytes.TrimSpace(value[:bytes.IndexByte(value, '\r')])
			n, err := strconv.Atoi(string(value))
			if err != nil {
				return -1
			}
			return n
		}
		next := bytes.IndexByte(head[i+1:], '\r')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return -1
}
