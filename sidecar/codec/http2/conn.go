package http2

import "encoding/binary"

// Conn is the state of one connection. Make one with [Conn.Start] or [Conn.Parse].
type Conn struct {
	client  bool // this end is the client
	greeted bool // the client's preface was read
	settled bool // the peer's first SETTINGS were read

	decoder  decoder
	encoder  encoder
	streams  map[uint32]*Stream
	latest   *Stream // of those, the one that was asked for last; nil when it is closed
	spare    []*Stream
	recent   []uint32 // closed streams; see remember
	recentAt int

	lastOwn, lastPeer uint32 // highest ids that were used
	goneAway          bool   // the peer takes no further streams
	leaving           bool   // nor does this end

	peerStreams, peerWindow, peerTable uint32 // the peer's settings

	sendWindow, recvWindow, owed int64 // of the connection

	head   head   // of the block that is being read
	block  []byte // what has come of it
	budget int
	earned int // by messages, for what comes along with them
}

// Kind says what has happened.
type Kind uint8

// Kinds of a Turn.
const (
	Nothing  Kind = iota // that the owner has to know
	Headers              // a message begins; for a response perhaps with an interim one
	Trailers             // and ends
	Data                 // a piece of its body
	Reset                // its stream was reset by the peer, or by this end because of what the peer sent
	Window               // more may be sent on Stream, or on all when that is nil; or more streams may be opened
	GoAway               // the peer takes no streams above Last
)

// Turn is what one frame has led to. One is used for all connections of a loop. What it shows is valid until the next Take.
type Turn struct {
	Kind   Kind
	Stream *Stream
	Fields Fields // of Headers and Trailers
	Data   []byte
	End    bool // the peer's side of the stream ends with this
	Code   Code // of Reset
	Local  bool // the Reset is this end's
	Last   uint32
	// Out is what this end has to say about it. The caller sends and empties it; Take appends.
	Out []byte
}

// Take reads the frame that b begins with. n is 0 when it is not complete. An error ends the connection.
func (c *Conn) Take(b []byte, t *Turn) (n int, err error) {
	t.Kind, t.Stream, t.Data, t.End, t.Local = Nothing, nil, nil, false, false
	if !c.client && !c.greeted {
		return c.greet(b)
	}
	f, n, err := nextFrame(b)
	if n == 0 || err != nil {
		return 0, err
	}
	switch {
	case !c.settled && (f.kind != frameSettings || f.flags&flagAck != 0):
		err = fault(ProtocolError, "something else before SETTINGS", "9113 3.4")
	case c.head.open && (f.kind != frameContinuation || f.stream != c.head.stream):
		err = fault(ProtocolError, "something else within a header block", "9113 4.3")
	default:
		err = c.take(&f, t)
	}
	return n, err
}

// first is what Midway says of the peer's first SETTINGS: it is no stream.
const first = 1 << 31

// Midway names what the peer has begun and what may take several frames: the stream of a header block, or first; 0 for nothing.
func (c *Conn) Midway() uint32 {
	switch {
	case c.head.open:
		return c.head.stream
	case !c.settled:
		return first
	}
	return 0
}

// Uploads names the stream of which rest, that Take has left, begins with a frame of DATA; 0 for anything else.
func Uploads(rest []byte) uint32 {
	if len(rest) < frameHeader || rest[3] != frameData {
		return 0
	}
	return binary.BigEndian.Uint32(rest[5:]) & (1<<31 - 1)
}

// greet takes the client's preface.
func (c *Conn) greet(b []byte) (int, error) {
	n := min(len(b), len(Preface))
	if string(b[:n]) != Preface[:n] {
		return 0, fault(ProtocolError, "no client's preface", "9113 3.4")
	}
	if n < len(Preface) {
		return 0, nil
	}
	c.greeted = true
	return n, nil
}

func (c *Conn) take(f *frame, t *Turn) error {
	switch f.kind {
	case frameData:
		return c.data(f, t)
	case frameHeaders:
		return c.headers(f, t)
	case frameContinuation:
		return c.continuation(f, t)
	case frameReset:
		return c.reset(f, t)
	case frameSettings:
		return c.settings(f, t)
	case framePing:
		return c.ping(f, t)
	case frameGoAway:
		return c.goAway(f, t)
	case frameWindow:
		return c.window(f, t)
	case framePriority:
		return c.priority(f, t)
	case framePush:
		return fault(ProtocolError, "PUSH_PROMISE, which nobody had allowed", "9113 8.4")
	}
	return c.spend(costSmall) // unknown frames are ignored (section 5.5)
}

// data takes a piece of a body. The connection's window is granted again at once, whatever becomes of the data: no stream
// holds up the others.
func (c *Conn) data(f *frame, t *Turn) error {
	if f.stream == 0 || c.idle(f.stream) {
		return fault(ProtocolError, "DATA on no stream or one that is idle", "9113 6.1")
	}
	content, err := f.content()
	if err != nil {
		return err
	}
	flow := int64(len(f.payload))
	if c.recvWindow -= flow; c.recvWindow < -windowGrace {
		return fault(FlowControlError, "more DATA than the connection's window", "9113 6.9.1")
	}
	if c.owed += flow; c.owed >= connWindow/4 {
		t.Out = appendWindow(t.Out, 0, int(c.owed))
		c.recvWindow += c.owed
		c.owed = 0
	}
	s := c.Stream(f.stream)
	if s == nil {
		return c.dataBehindEnd(f, t)
	}
	if len(content) == 0 && f.flags&flagEndStream == 0 {
		if err := c.spend(costEmpty); err != nil {
			return err
		}
	}
	s.recv -= flow
	s.owed += flow - int64(len(content))
	s.left -= int64(len(content))
	end := f.flags&flagEndStream != 0
	switch {
	case s.remoteEnd:
		return c.refuse(s, StreamClosed, t)
	case s.recv < -windowGrace:
		return c.refuse(s, FlowControlError, t)
	case !s.headed, s.counted && s.left < 0, s.counted && end && s.left > 0:
		return c.refuse(s, ProtocolError, t)
	}
	if len(content) > 0 {
		c.earn()
	}
	t.Kind, t.Stream, t.Data, t.End = Data, s, content, end
	if end {
		c.endRemote(s)
	}
	return nil
}

// dataBehindEnd answers DATA for a stream that is closed.
func (c *Conn) dataBehindEnd(f *frame, t *Turn) error {
	if _, resetByUs := c.recall(f.stream); resetByUs {
		return c.spend(costSmall)
	}
	t.Out = appendReset(t.Out, f.stream, StreamClosed)
	return c.spend(costFault)
}

// refuse resets a stream because of what its peer has sent.
func (c *Conn) refuse(s *Stream, code Code, t *Turn) error {
	if err := c.spend(costFault); err != nil {
		return err // with the stream still there: its owner hears of it as of all others
	}
	t.Out = appendReset(t.Out, s.ID, code)
	c.close(s, true)
	t.Kind, t.Stream, t.Code, t.Local = Reset, s, code, true
	return nil
}

func (c *Conn) reset(f *frame, t *Turn) error {
	switch {
	case f.stream == 0 || c.idle(f.stream):
		return fault(ProtocolError, "RST_STREAM on no stream or one that is idle", "9113 6.4")
	case len(f.payload) != 4:
		return fault(FrameSizeError, "RST_STREAM whose length is not 4", "9113 6.4")
	}
	s := c.Stream(f.stream)
	if s == nil {
		return c.spend(costSmall)
	}
	cost := costReset
	if s.localEnd || c.client {
		cost = costSmall // it was answered, or the peer is the server
	}
	if err := c.spend(cost); err != nil {
		return err
	}
	t.Kind, t.Stream, t.Code = Reset, s, Code(binary.BigEndian.Uint32(f.payload))
	c.close(s, false)
	return nil
}

func (c *Conn) ping(f *frame, t *Turn) error {
	switch {
	case f.stream != 0:
		return fault(ProtocolError, "PING on a stream", "9113 6.7")
	case len(f.payload) != 8:
		return fault(FrameSizeError, "PING whose length is not 8", "9113 6.7")
	case f.flags&flagAck != 0:
		return c.spend(costSmall) // this end sends none
	}
	t.Out = append(appendFrameHeader(t.Out, 8, framePing, flagAck, 0), f.payload...)
	return c.accompany(costPing)
}

func (c *Conn) goAway(f *frame, t *Turn) error {
	switch {
	case f.stream != 0:
		return fault(ProtocolError, "GOAWAY on a stream", "9113 6.8")
	case len(f.payload) < 8:
		return fault(FrameSizeError, "GOAWAY whose length is below 8", "9113 6.8")
	}
	c.goneAway = true
	t.Kind, t.Last = GoAway, binary.BigEndian.Uint32(f.payload)&(1<<31-1)
	return c.spend(costSmall)
}

func (c *Conn) window(f *frame, t *Turn) error {
	switch {
	case len(f.payload) != 4:
		return fault(FrameSizeError, "WINDOW_UPDATE whose length is not 4", "9113 6.9")
	case f.stream != 0 && c.idle(f.stream):
		return fault(ProtocolError, "WINDOW_UPDATE on a stream that is idle", "9113 5.1")
	}
	n := int64(binary.BigEndian.Uint32(f.payload) & (1<<31 - 1))
	if n < smallWindow {
		if err := c.accompany(costSmall); err != nil {
			return err
		}
	}
	if f.stream == 0 {
		if c.sendWindow += n; n == 0 {
			return fault(ProtocolError, "WINDOW_UPDATE of nothing", "9113 6.9")
		}
		if c.sendWindow > maxWindow {
			return fault(FlowControlError, "a connection's window above 2^31-1", "9113 6.9.1")
		}
		t.Kind = Window
		return nil
	}
	s := c.Stream(f.stream)
	if s == nil {
		return c.accompany(costSmall)
	}
	if s.send += n; n == 0 {
		return c.refuse(s, ProtocolError, t)
	}
	if s.send > maxWindow {
		return c.refuse(s, FlowControlError, t)
	}
	t.Kind, t.Stream = Window, s
	return nil
}

// priority is checked and ignored.
func (c *Conn) priority(f *frame, t *Turn) error {
	var code Code
	switch {
	case f.stream == 0:
		return fault(ProtocolError, "PRIORITY on no stream", "9113 6.3")
	case len(f.payload) != 5:
		code = FrameSizeError
	case dependsOn(f.payload) == f.stream:
		code = ProtocolError // what RFC 7540 section 5.3.1 had forbidden
	default:
		return c.spend(costSmall)
	}
	if s := c.Stream(f.stream); s != nil {
		return c.refuse(s, code, t)
	}
	t.Out = appendReset(t.Out, f.stream, code)
	return c.spend(costFault)
}

// dependsOn is the stream that a priority names.
func dependsOn(priority []byte) uint32 { return binary.BigEndian.Uint32(priority) & (1<<31 - 1) }
