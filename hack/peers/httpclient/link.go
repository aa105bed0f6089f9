package httpclient

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/axlemesh/axle/hack/peers/httpserver"
	"github.com/axlemesh/axle/hack/peers/meshstate"
	"github.com/axlemesh/axle/hack/peers/wire"
)

// link is one socket.
type link struct {
	conn net.Conn
	in   *bufio.Reader
	via  meshstate.Via
	peek [1]byte
}

func newLink(conn net.Conn, via meshstate.Via) *link {
	return &link{conn: conn, in: bufio.NewReader(conn), via: via}
}

// answer is what came back for a request.
type answer struct {
	fault           string // "" for the right answer
	server, version string
	last            bool // the connection closes behind it
}

// requestHead is a whole request. It goes out in one write.
func (c *Client) requestHead(via meshstate.Via, chunked bool, content []byte) []byte {
	b := make([]byte, 0, 512+len(content))
	b = append(b, "POST "...)
	if c.cfg.Absolute && via == meshstate.Mesh {
		b = append(append(b, "http://"...), c.cfg.Host...)
	}
	b = fmt.Appendf(b, "%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: axle-peers\r\nX-Peer-Client: %s\r\nContent-Type: application/octet-stream\r\n", c.cfg.Path, c.cfg.Host, c.cfg.Name)
	for _, f := range c.cfg.Fields {
		b = append(append(b, f...), "\r\n"...)
	}
	if !chunked {
		b = fmt.Appendf(b, "Content-Length: %d\r\n\r\n", len(content))
		return append(b, content...)
	}
	half := len(content) / 2
	b = fmt.Appendf(b, "Transfer-Encoding: chunked\r\n\r\n%x\r\n", half)
	b = append(b, content[:half]...)
	b = fmt.Appendf(b, "\r\n%x\r\n", len(content)-half)
	b = append(b, content[half:]...)
	return append(b, "\r\n0\r\n\r\n"...)
}

// exchange writes a request and reads its answer. Answers to earlier requests of the connection are counted as duplicates
// and read over. An error means that the connection is of no use any more.
func (l *link) exchange(request []byte, id wire.Identity, sum uint32, deadline time.Time) (a answer, duplicates int, err error) {
	_ = l.conn.SetDeadline(deadline) // it fails only when the connection is closed
	if _, err := l.conn.Write(request); err != nil {
		return answer{}, 0, fmt.Errorf("write a request: %w", err)
	}
	for {
		resp, err := l.read()
		if err != nil {
			return answer{}, duplicates, err
		}
		a = answer{server: resp.header.Get(httpserver.ServerField), version: resp.header.Get(httpserver.VersionField), last: resp.last}
		if resp.status != http.StatusOK {
			a.fault = "status " + strconv.Itoa(resp.status)
			return a, duplicates, nil
		}
		r, err := wire.ParseReplyContent(resp.body)
		switch {
		case err != nil:
			a.fault = "bad checksum"
		case r.Client == id.Client && r.Conn == id.Conn && r.Seq < id.Seq:
			duplicates++
			continue
		case r.Identity != id || r.RequestSum != sum || r.Server != a.server:
			a.fault = "the answer to another request"
		}
		return a, duplicates, nil
	}
}

// response is one that was read to its end.
type response struct {
	status int
	header http.Header
	last   bool // the connection closes behind it
	body   []byte
}

// read reads one response with its body.
func (l *link) read() (response, error) {
	resp, err := http.ReadResponse(l.in, &http.Request{Method: http.MethodPost})
	if err != nil {
		return response{}, fmt.Errorf("read a response: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read to its end, or the connection is given up
	body, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxFrame))
	if err != nil {
		return response{}, fmt.Errorf("read the body of a response: %w", err)
	}
	return response{resp.StatusCode, resp.Header, resp.Close, body}, nil
}

// unasked reads a response that nothing waits for.
func (l *link) unasked(deadline time.Time) (wire.Identity, error) {
	_ = l.conn.SetDeadline(deadline) // it fails only when the connection is closed
	resp, err := l.read()
	if err != nil {
		return wire.Identity{}, err
	}
	r, err := wire.ParseReplyContent(resp.body)
	if err != nil {
		return wire.Identity{}, nil //nolint:nilerr // it is nobody's answer, which is what matters
	}
	return r.Identity, nil
}

// quiet looks at the connection without waiting: true when nothing has come, as it should be between two requests.
func (l *link) quiet() (bool, error) {
	if l.in.Buffered() > 0 {
		return false, nil
	}
	raw, err := l.conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return false, fmt.Errorf("look at a connection: %w", err)
	}
	var n int
	var got error
	_ = l.conn.SetReadDeadline(time.Time{}) // the last request's
	err = raw.Read(func(fd uintptr) bool {
		n, _, got = syscall.Recvfrom(int(fd), l.peek[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	switch {
	case err != nil:
		return false, fmt.Errorf("look at a connection: %w", err)
	case errors.Is(got, syscall.EAGAIN), errors.Is(got, syscall.EINTR):
		return true, nil
	case got != nil:
		return false, fmt.Errorf("look at a connection: %w", os.NewSyscallError("recvfrom", got))
	case n == 0:
		return false, fmt.Errorf("look at a connection: %w", io.EOF)
	}
	return false, nil
}

// end says how a connection came to its end.
type end int

const (
	endForeign end = iota // what came is not HTTP
	endBroken             // closed or reset
	endTimeout            // no answer in time
)

func kind(err error) end {
	var op *net.OpError
	var call *os.SyscallError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return endTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &op), errors.As(err, &call):
		return endBroken
	}
	return endForeign
}
