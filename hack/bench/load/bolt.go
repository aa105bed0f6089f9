package load

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/axlemesh/axle/hack/bench/h2"
	"github.com/axlemesh/axle/hack/peers/wire"
)

// idAt is where a Bolt v1 frame has its request id.
const idAt = 5

// frames makes and checks Bolt messages of one size without allocating: a message is a template with another id and another
// token, the first eight bytes of its content.
type frames struct {
	stateless
	size     int
	request  []byte
	content  int // where the request's content starts
	response []byte
	answer   int // where the response's content starts
}

func newFrames(size int) *frames {
	payload := Filler(size)
	var h []byte
	for _, kv := range [][2]string{
		{"service", Service},
		{"sofa_head_target_service", Service},
		{"sofa_head_method_name", "echo"},
		{"sofa_head_target_app", "bench-server"},
		{"rpc_trace_context.sofaTraceId", "0a0fe8ec1526543287321000123456"},
		{"rpc_trace_context.sofaRpcId", "0.1"},
	} {
		h = wire.AppendPair(h, kv[0], kv[1])
	}
	f := &frames{size: size}
	f.request = wire.Append(nil, wire.Frame{
		Kind: wire.Request, Command: wire.Call, Codec: wire.Hessian2, Timeout: 5000,
		Class: []byte("com.alipay.sofa.rpc.core.request.SofaRequest"), Header: h, Content: payload,
	})
	f.response = wire.Append(nil, wire.Frame{
		Kind: wire.Response, Command: wire.Answer, Codec: wire.Hessian2,
		Class: []byte("com.alipay.sofa.rpc.core.response.SofaResponse"), Content: payload,
	})
	f.content, f.answer = len(f.request)-size, len(f.response)-size
	return f
}

// Request implements client.
func (f *frames) Request(dst []byte, id uint32, token uint64) []byte {
	from := len(dst)
	dst = append(dst, f.request...)
	binary.BigEndian.PutUint32(dst[from+idAt:], id)
	binary.BigEndian.PutUint64(dst[from+f.content:], token)
	return dst
}

// Answer implements client.
func (f *frames) Answer(b, dst []byte) (h2.Answer, []byte, error) {
	r, n, err := wire.Parse(b)
	switch {
	case errors.Is(err, wire.ErrShort):
		return h2.Answer{}, dst, nil
	case err != nil:
		return h2.Answer{}, dst, err
	case r.Kind != wire.Response || r.Status != 0 || len(r.Content) != f.size:
		return h2.Answer{N: n}, dst, fmt.Errorf("kind %d, status %d, %d bytes: %w", r.Kind, r.Status, len(r.Content), errWrong)
	}
	last := r.Content[f.size-1]
	if f.size > 8 && last != fill(f.size-1) {
		return h2.Answer{N: n}, dst, fmt.Errorf("the last byte is %q: %w", last, errWrong)
	}
	return h2.Answer{N: n, Done: true, Slot: r.ID, Token: binary.BigEndian.Uint64(r.Content)}, dst, nil
}

// Serve implements server.
func (f *frames) Serve(b, dst []byte) (n int, out []byte, err error) {
	r, n, err := wire.Parse(b)
	switch {
	case errors.Is(err, wire.ErrShort):
		return 0, dst, nil
	case err != nil:
		return 0, dst, err
	case r.Kind == wire.Request && r.Command == wire.Heartbeat:
		return n, wire.Append(dst, wire.Frame{Kind: wire.Response, Command: wire.Heartbeat, ID: r.ID, Codec: r.Codec}), nil
	case r.Kind != wire.Request || len(r.Content) != f.size:
		return n, dst, fmt.Errorf("a frame of kind %d with %d bytes: %w", r.Kind, len(r.Content), errWrong)
	}
	from := len(dst)
	dst = append(dst, f.response...)
	binary.BigEndian.PutUint32(dst[from+idAt:], r.ID)
	copy(dst[from+f.answer:], r.Content)
	return n, dst, nil
}
