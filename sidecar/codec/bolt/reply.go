package bolt

import "encoding/binary"

// heartbeatCodec is the codec byte of heartbeats (hessian2, as the reference implementation writes it); their body is
// empty.
const heartbeatCodec = 1

// Reply is what has to be known of a request to answer it, also after its frame is gone: the answer has the request's
// form, id and codec. The form includes the checksum, as in the reference implementation's own answers.
type Reply struct {
	Version Version
	ID      uint32
	Codec   byte
}

// Reply returns what an answer to this request repeats.
func (f Frame) Reply() Reply { return Reply{f.version, f.ID(), f.Codec()} }

// AppendStatus appends a response that carries a status and nothing else; clients of the reference implementation turn
// it into the exception that belongs to the status.
func (r Reply) AppendStatus(dst []byte, status Status) []byte {
	return r.append(dst, cmdResponse, status)
}

// AppendHeartbeatAck appends the answer to a heartbeat.
func (r Reply) AppendHeartbeatAck(dst []byte) []byte { return r.append(dst, cmdHeartbeat, StatusOK) }

func (r Reply) append(dst []byte, cmd uint16, status Status) []byte {
	from := len(dst)
	dst = appendHead(dst, r.Version, Response, cmd, r.ID, r.Codec)
	dst = binary.BigEndian.AppendUint16(dst, uint16(status))
	return appendEmpty(dst, from, r.Version)
}

// AppendHeartbeat appends a heartbeat request in this form.
func (v Version) AppendHeartbeat(dst []byte, id uint32, timeoutMillis uint32) []byte {
	from := len(dst)
	dst = appendHead(dst, v, Request, cmdHeartbeat, id, heartbeatCodec)
	dst = binary.BigEndian.AppendUint32(dst, timeoutMillis)
	return appendEmpty(dst, from, v)
}

// AppendHeartbeat appends a heartbeat request in version 1.
func AppendHeartbeat(dst []byte, id uint32, timeoutMillis uint32) []byte {
	return V1.AppendHeartbeat(dst, id, timeoutMillis)
}

// AppendHeartbeatAck appends the answer to a heartbeat of version 1.
func AppendHeartbeatAck(dst []byte, id uint32, codec byte) []byte {
	return Reply{V1, id, codec}.AppendHeartbeatAck(dst)
}

// AppendReply appends the answer to a request of version 1, like [Reply.AppendStatus].
func AppendReply(dst []byte, id uint32, codec byte, status Status) []byte {
	return Reply{V1, id, codec}.AppendStatus(dst, status)
}

func appendHead(dst []byte, v Version, kind Kind, cmd uint16, id uint32, codec byte) []byte {
	switch v {
	case V1:
		dst = append(dst, protoV1, byte(kind))
	case V2:
		dst = append(dst, protoV2, ver1Plain, byte(kind))
	default:
		dst = append(dst, protoV2, ver1CRC, byte(kind))
	}
	dst = binary.BigEndian.AppendUint16(dst, cmd)
	dst = append(dst, 1) // ver2
	dst = binary.BigEndian.AppendUint32(dst, id)
	dst = append(dst, codec)
	switch v {
	case V1:
	case V2CRC:
		dst = append(dst, switchCRC)
	default:
		dst = append(dst, 0)
	}
	return dst
}

// appendEmpty appends an empty class, header and content to the frame that begins at from, and its checksum.
func appendEmpty(dst []byte, from int, v Version) []byte {
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	if v == V2CRC {
		dst = append(dst, 0, 0, 0, 0)
		seal(dst[from:])
	}
	return dst
}

// AppendAs appends the frame in the form that a reader of v expects: with v's first two bytes, and with a checksum only if
// the frame has one and v allows it. A server of the reference implementation answers in the form of the first frame that a
// connection brought, so a connection that several clients share may answer in a form that one of them has never seen.
func (f Frame) AppendAs(dst []byte, v Version) []byte {
	if v == V2CRC && f.version != V2CRC {
		v = V2Plain
	}
	if v == V2Plain && f.version == V2CRC {
		v = V2CRC
	}
	from := len(dst)
	dst = appendHead(dst, v, f.Kind(), f.command(), f.ID(), f.Codec())
	end := len(f.raw) - f.version.trailer()
	dst = append(dst, f.raw[f.version.tail():end]...)
	if v == V2CRC {
		dst = append(dst, 0, 0, 0, 0)
		seal(dst[from:])
	}
	return dst
}

// Suits says that a peer that speaks v reads the frame as it is. If not, AppendAs makes it readable.
func (f Frame) Suits(v Version) bool {
	return f.version == v || f.version >= V2Plain && v >= V2Plain
}
