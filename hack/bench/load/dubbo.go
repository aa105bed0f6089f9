package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/axlemesh/axle/hack/bench/h2"
	"github.com/axlemesh/axle/hack/peers/dubboframe"
)

// calls makes and checks Dubbo messages of one size without allocating, like frames.
type calls struct {
	stateless
	payload  []byte
	request  []byte
	argument int // where the request's argument starts
	response []byte
	value    int // where the response's value starts
}

func newCalls(size int) *calls {
	c := &calls{payload: Filler(size)}
	body := dubboframe.AppendCall(nil, dubboframe.Call{Path: Interface, Version: Version, Method: "echo", Argument: c.payload})
	c.request = dubboframe.Append(nil, dubboframe.Frame{Request: true, TwoWay: true, Body: body})
	c.argument = bytes.Index(c.request, c.payload)
	c.response = dubboframe.Append(nil, dubboframe.Frame{Status: dubboframe.OK, Body: dubboframe.AppendValue(nil, c.payload)})
	c.value = len(c.response) - size
	return c
}

// Request implements client.
func (c *calls) Request(dst []byte, slot uint32, token uint64) []byte {
	from := len(dst)
	dst = append(dst, c.request...)
	binary.BigEndian.PutUint64(dst[from+dubboframe.IDAt:], uint64(slot))
	binary.BigEndian.PutUint64(dst[from+c.argument:], token)
	return dst
}

// Answer implements client.
func (c *calls) Answer(b, dst []byte) (h2.Answer, []byte, error) {
	f, n, err := dubboframe.Parse(b)
	switch {
	case errors.Is(err, dubboframe.ErrShort):
		return h2.Answer{}, dst, nil
	case err != nil:
		return h2.Answer{}, dst, err
	case f.Event && f.Request:
		return h2.Answer{N: n}, dubboframe.Append(dst, dubboframe.Heartbeat(f.ID)), nil
	case f.Event:
		return h2.Answer{N: n}, dst, nil
	case f.Request || f.Status != dubboframe.OK:
		return h2.Answer{N: n}, dst, fmt.Errorf("status %d, a request %v, %q: %w", f.Status, f.Request, f.Body, errWrong)
	}
	content, err := dubboframe.ParseValue(f.Body)
	if err == nil && (len(content) != len(c.payload) || !bytes.Equal(content[8:], c.payload[8:])) {
		err = fmt.Errorf("%d bytes, or others than were sent: %w", len(content), errWrong)
	}
	if err != nil {
		return h2.Answer{N: n}, dst, err
	}
	return h2.Answer{N: n, Done: true, Slot: uint32(f.ID), Token: binary.BigEndian.Uint64(content)}, dst, nil
}

// Serve implements server.
func (c *calls) Serve(b, dst []byte) (int, []byte, error) {
	f, n, err := dubboframe.Parse(b)
	switch {
	case errors.Is(err, dubboframe.ErrShort):
		return 0, dst, nil
	case err != nil:
		return 0, dst, err
	case f.Event && f.Request:
		return n, dubboframe.Append(dst, dubboframe.Heartbeat(f.ID)), nil
	}
	at := c.argument - dubboframe.Head // everything before the argument is the same in every request
	if !f.Request || len(f.Body) < at+len(c.payload) || !bytes.Equal(f.Body[:at], c.request[dubboframe.Head:c.argument]) {
		return n, dst, fmt.Errorf("a frame of %d bytes, a request %v: %w", n, f.Request, errWrong)
	}
	from := len(dst)
	dst = append(dst, c.response...)
	binary.BigEndian.PutUint64(dst[from+dubboframe.IDAt:], f.ID)
	copy(dst[from+c.value:], f.Body[at:at+len(c.payload)])
	return n, dst, nil
}
