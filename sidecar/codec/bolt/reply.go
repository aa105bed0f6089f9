package bolt

import "encoding/binary"

// heartbeatCodec is the codec byte of heartbeats (hessian2, as the reference implementation writes it); their body is
// empty.
const heartbeatCodec = 1

// AppendHeartbeat appends a heartbeat request.
func AppendHeartbeat(dst []byte, id uint32, timeoutMillis uint32) []byte {
	dst = appendHead(dst, Request, cmdHeartbeat, id, heartbeatCodec)
	dst = binary.BigEndian.AppendUint32(dst, timeoutMillis)
	return appendLengths(dst)
}

// AppendHeartbeatAck appends the answer to a heartbeat.
func AppendHeartbeatAck(dst []byte, id uint32, codec byte) []byte {
	dst = appendHead(dst, Response, cmdHeartbeat, id, codec)
	dst = binary.BigEndian.AppendUint16(dst, uint16(StatusOK))
	return appendLengths(dst)
}

// AppendReply appends a response that carries a status and nothing else; clients of the reference implementation turn it
// into the exception that belongs to the status.
func AppendReply(dst []byte, id uint32, codec byte, status Status) []byte {
	dst = appendHead(dst, Response, cmdResponse, id, codec)
	dst = binary.BigEndian.AppendUint16(dst, uint16(status))
	return appendLengths(dst)
}

func appendHead(dst []byte, kind Kind, cmd uint16, id uint32, codec byte) []byte {
	dst = append(dst, protoV1, byte(kind))
	dst = binary.BigEndian.AppendUint16(dst, cmd)
	dst = append(dst, 1) // ver2
	dst = binary.BigEndian.AppendUint32(dst, id)
	return append(dst, codec)
}

// appendLengths appends an empty class, header and content.
func appendLengths(dst []byte) []byte { return append(dst, 0, 0, 0, 0, 0, 0, 0, 0) }
