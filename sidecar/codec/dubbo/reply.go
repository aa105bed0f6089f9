package dubbo

import "encoding/binary"

// null is hessian2's.
const null = 'N'

// AppendError appends the response to the request with this id that carries a status other than OK, and a message for
// people: ASCII, of which at most maxMessage bytes are sent. It is written by hessian2, whatever the request was: every
// implementation reads what a response says that it is.
func AppendError(dst []byte, id uint64, status Status, message string) []byte {
	message = message[:min(len(message), maxMessage)]
	dst = appendHead(dst, Hessian2, status, id, 2+len(message))
	dst = append(dst, 0x30+byte(len(message)>>8), byte(len(message)))
	return append(dst, message...)
}

// maxMessage is the longest string that has the form above.
const maxMessage = 1<<10 - 1

// AppendAck appends the answer to an event that wants one. Its body is the event's: a null, in the peer's serialisation.
func (f Frame) AppendAck(dst []byte) []byte {
	dst = appendHead(dst, flagEvent|f.Serialization(), StatusOK, f.ID(), len(f.body()))
	return append(dst, f.body()...)
}

// AppendHeartbeat appends a heartbeat, which wants an answer.
func AppendHeartbeat(dst []byte, id uint64) []byte {
	return append(appendHead(dst, flagRequest|flagTwoWay|flagEvent|Hessian2, 0, id, 1), null)
}

func appendHead(dst []byte, flags byte, status Status, id uint64, length int) []byte {
	dst = append(dst, magic0, magic1, flags, byte(status))
	dst = binary.BigEndian.AppendUint64(dst, id)
	return binary.BigEndian.AppendUint32(dst, uint32(length))
}
