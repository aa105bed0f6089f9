package http2

import "encoding/binary"

// Settings (RFC 9113 section 6.5.2).
const (
	settingTableSize = 0x1
	settingPush      = 0x2
	settingStreams   = 0x3
	settingWindow    = 0x4
	settingFrameSize = 0x5
	settingListSize  = 0x6
	settingSize      = 6
	maxWindow        = 1<<31 - 1
	unlimited        = 1<<32 - 1 // SETTINGS_MAX_CONCURRENT_STREAMS of a server that says nothing
)

// Windows that this end grants. That of a stream is the protocol's default.
const (
	streamWindow = 1<<16 - 1
	connWindow   = 1 << 20
)

// windowGrace is how far a peer may go beyond a window: Triple, of Dubbo 3, takes the initial ones for 64 KiB, which is a byte
// more than they are (TriHttp2RemoteFlowController).
const windowGrace = 1

// maxStreams is how many streams a client may have open.
const maxStreams = 128

// Start appends what this end sends first, and makes c a new connection.
func (c *Conn) Start(client bool, dst []byte) []byte {
	*c = Conn{client: client, peerStreams: unlimited, peerWindow: streamWindow, peerTable: tableSize,
		sendWindow: streamWindow, recvWindow: connWindow, budget: maxBudget, streams: map[uint32]*Stream{}}
	c.decoder.table.max, c.encoder.table.max = tableSize, tableSize
	setting, value := settingStreams, maxStreams
	if client {
		dst = append(dst, Preface...)
		setting, value = settingPush, 0
	}
	dst = appendFrameHeader(dst, 2*settingSize, frameSettings, 0, 0)
	dst = appendSetting(dst, setting, value)
	dst = appendSetting(dst, settingListSize, maxList)
	return appendWindow(dst, 0, connWindow-streamWindow)
}

// Upgrade is Start for a server whose client has offered to go on in HTTP/2 with a request of HTTP/1.1, which is f (RFC 7540
// section 3.2). settings are what came with the offer. The request is stream 1, whose client's side has ended. On an error the
// offer is not to be taken; c is of no use then.
func (c *Conn) Upgrade(dst, settings []byte, f *Fields) ([]byte, *Stream, error) {
	if len(settings)%settingSize != 0 || f.over || !f.checkRequest() {
		return dst, nil, fault(ProtocolError, "an upgrade with settings or a request that HTTP/2 does not have", "7540 3.2.1")
	}
	dst = c.Start(false, dst)
	for ; len(settings) > 0; settings = settings[settingSize:] {
		if err := c.setting(binary.BigEndian.Uint16(settings), binary.BigEndian.Uint32(settings[2:])); err != nil {
			return dst, nil, err
		}
	}
	c.lastPeer = 1
	s := c.newStream(c.lastPeer)
	s.headed, s.remoteEnd = true, true
	return dst, s, nil
}

func appendSetting(dst []byte, setting, value int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(setting))
	return binary.BigEndian.AppendUint32(dst, uint32(value))
}

// settings takes the peer's and acknowledges them.
func (c *Conn) settings(f *frame, t *Turn) error {
	switch {
	case f.stream != 0:
		return fault(ProtocolError, "SETTINGS on a stream", "9113 6.5")
	case f.flags&flagAck != 0:
		if len(f.payload) > 0 {
			return fault(FrameSizeError, "an acknowledgement of SETTINGS with a payload", "9113 6.5")
		}
		return c.spend(costSmall)
	case len(f.payload)%settingSize != 0:
		return fault(FrameSizeError, "SETTINGS of a length that is no multiple of 6", "9113 6.5")
	}
	if err := c.spend(costSettings + costSmall*len(f.payload)/settingSize); err != nil {
		return err
	}
	for p := f.payload; len(p) > 0; p = p[settingSize:] {
		if err := c.setting(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	c.settled = true
	t.Out = appendFrameHeader(t.Out, 0, frameSettings, flagAck, 0)
	t.Kind = Window // the windows and the number of streams may have changed
	return nil
}

func (c *Conn) setting(setting uint16, value uint32) error {
	switch setting {
	case settingTableSize:
		c.peerTable = min(value, tableSize)
		c.encoder.resize(int(c.peerTable))
	case settingPush:
		if value > 1 || value == 1 && c.client {
			return fault(ProtocolError, "SETTINGS_ENABLE_PUSH that is not allowed", "9113 6.5.2")
		}
	case settingStreams:
		c.peerStreams = value
	case settingWindow:
		return c.rewindow(value)
	case settingFrameSize:
		if value < maxFrame || value > 1<<24-1 {
			return fault(ProtocolError, "SETTINGS_MAX_FRAME_SIZE out of bounds", "9113 6.5.2")
		}
	}
	return nil
}

// rewindow changes the windows of all streams (RFC 9113 section 6.9.2). They may become negative.
func (c *Conn) rewindow(value uint32) error {
	if value > maxWindow {
		return fault(FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1", "9113 6.5.2")
	}
	delta := int64(value) - int64(c.peerWindow)
	c.peerWindow = value
	for _, s := range c.streams {
		if s.send += delta; s.send > maxWindow {
			return fault(FlowControlError, "a stream's window above 2^31-1", "9113 6.9.2")
		}
	}
	return nil
}
