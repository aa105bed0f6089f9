package h2

import (
	"fmt"
)

// Client is the client's end of one connection. Make it with NewClient.
type Client struct {
	Shape
	peer
	blocks  blocks
	ready   bool // blocks are there
	last    uint32
	waiting map[uint32]*asked
	free    []*asked
}

// asked is a request that waits for its answer.
type asked struct {
	slot uint32
	head bool // the answer's headers have come
	got  []byte
}

// Answer is what one frame has brought.
type Answer struct {
	// N is the frame's length, 0 when it is not complete.
	N int
	// Done says that the answer of Slot is complete, and carries Token.
	Done  bool
	Slot  uint32
	Token uint64
}

// NewClient returns a client before its first byte.
func NewClient(s Shape) *Client {
	return &Client{Shape: s, peer: newPeer(), last: ^uint32(0), waiting: map[uint32]*asked{}}
}

// Hello appends what a client says first.
func (c *Client) Hello(dst []byte) []byte { return appendHello(append(dst, preface...)) }

// Room says whether a request may be sent now.
func (c *Client) Room() bool { return c.ready && c.window >= int64(c.size()) }

// Request appends a request. Its answer comes with the same slot and token.
func (c *Client) Request(dst []byte, slot uint32, token uint64) []byte {
	c.last += 2
	a := &asked{}
	if n := len(c.free); n > 0 {
		a, c.free = c.free[n-1], c.free[:n-1]
	}
	*a = asked{slot: slot, got: a.got[:0]}
	c.waiting[c.last] = a
	c.window -= int64(c.size())
	dst = appendFrame(dst, headers, endHeaders, c.last, c.blocks.take()[0]...)
	return c.appendData(dst, endStream, c.last, token)
}

// Answer takes the first frame of b; dst gets what has to be said in return.
func (c *Client) Answer(b, dst []byte) (Answer, []byte, error) {
	f, n, err := next(b)
	if n == 0 || err != nil {
		return Answer{}, dst, err
	}
	a := Answer{N: n}
	switch f.kind {
	case data:
		dst = c.took(n-frameHead, dst)
		q := c.waiting[f.stream]
		if q == nil || !q.head {
			return a, dst, fmt.Errorf("content of stream %d, which has no headers: %w", f.stream, errWrong)
		}
		q.got = append(q.got, f.payload...)
		if len(q.got) > c.size() {
			return a, dst, fmt.Errorf("%d bytes of content: %w", len(q.got), errWrong)
		}
		if f.flags&endStream != 0 {
			return c.end(a, f.stream, !c.GRPC, dst)
		}
	case headers, continuation:
		begin, done, err := c.header(f)
		if err != nil || !done {
			return a, dst, err
		}
		return c.head(a, begin, dst)
	case reset, goaway:
		return a, dst, fmt.Errorf("frame of kind %d for stream %d, %q: %w", f.kind, f.stream, f.payload, errWrong)
	default:
		if dst, err = c.connection(f, dst); err == nil {
			err = c.settle()
		}
	}
	return a, dst, err
}

// settle makes the blocks once the server has said how large its table is.
func (c *Client) settle() error {
	if !c.settled || c.ready {
		return nil
	}
	if c.each < int64(c.size()) {
		return fmt.Errorf("a window of %d bytes for each stream is too small here", c.each)
	}
	var err error
	c.blocks, err = encode(c.table, c.request())
	c.ready = err == nil
	return err
}

// head handles headers or trailers, which begin with that frame.
func (c *Client) head(a Answer, begin frame, dst []byte) (Answer, []byte, error) {
	q := c.waiting[begin.stream]
	if q == nil {
		return a, dst, fmt.Errorf("headers of stream %d, which nobody has asked for: %w", begin.stream, errWrong)
	}
	if status := c.fields.status; !q.head && status != "200" {
		return a, dst, fmt.Errorf("status %q, gRPC status %q: %w", status, c.fields.grpcStatus, errWrong)
	}
	q.head = true
	if begin.flags&endStream == 0 {
		return a, dst, nil
	}
	return c.end(a, begin.stream, c.fields.grpcStatus == "0" || !c.GRPC, dst)
}

// end checks an answer; well says that it ended as it has to.
func (c *Client) end(a Answer, stream uint32, well bool, dst []byte) (Answer, []byte, error) {
	q := c.waiting[stream]
	if !well {
		return a, dst, fmt.Errorf("the end of stream %d, gRPC status %q: %w", stream, c.fields.grpcStatus, errWrong)
	}
	token, err := c.check(q.got)
	if err != nil {
		return a, dst, fmt.Errorf("stream %d: %w", stream, err)
	}
	delete(c.waiting, stream)
	c.free = append(c.free, q)
	a.Done, a.Slot, a.Token = true, q.slot, token
	return a, dst, nil
}
