// Package supervisor is PID 1 of a sidecar's container. It starts the proxy as its child, restarts it when it dies, kills
// it when it is silent, reaps what it leaves behind, and keeps what must outlive it: duplicates of its listening
// descriptors and a few sealed memory files (its credential, its last configuration), which it never reads. It binds
// nothing, knows no configuration and talks to no one but its child.
package supervisor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// ChildFD is the descriptor at which a supervised child finds its end of the socket pair.
const ChildFD = 3

// RestartsEnv tells the child how often its supervisor restarted it.
const RestartsEnv = "AXLE_RESTARTS"

// StatePrefix starts the keys of memory files in the descriptor store.
const StatePrefix = "state/"

// Bounds of what either side believes.
const (
	maxKey     = 255
	maxStored  = 1024
	maxMessage = 4096
	maxState   = 64 << 20
)

// Kind is the first byte of a message. Messages are packets on a SOCK_SEQPACKET pair; each is at most maxMessage long.
type Kind byte

// The kinds of messages. Between the supervisors of two slots, KindAdd, KindRemove and KindEnd mean the same.
const (
	KindAdd    Kind = 'A' // key, and one descriptor: keep it, or (downwards) this is what was kept
	KindRemove Kind = 'R' // key: drop it
	KindBeat   Kind = 'B' // the child is alive
	KindPhase  Kind = 'P' // one byte, a Phase
	KindWords  Kind = 'W' // why the child is about to exit
	KindEnd    Kind = 'E' // downwards: everything kept has been sent
	KindTerm   Kind = 'T' // downwards: uint64, milliseconds that are left
	KindLeave  Kind = 'L' // downwards: nobody is to serve here any more
)

// Message is one packet.
type Message struct {
	Kind Kind
	Body []byte
	// FD is a descriptor that travels along; -1 for none.
	FD int
}

// Send writes one message and never blocks past the deadline.
func Send(c *net.UnixConn, deadline time.Time, m Message) error {
	if len(m.Body)+1 > maxMessage {
		return fmt.Errorf("send %c: %d bytes are too many", m.Kind, len(m.Body))
	}
	var oob []byte
	if m.FD >= 0 {
		oob = unix.UnixRights(m.FD)
	}
	if err := c.SetWriteDeadline(deadline); err != nil {
		return fmt.Errorf("send %c: %w", m.Kind, err)
	}
	if _, _, err := c.WriteMsgUnix(append([]byte{byte(m.Kind)}, m.Body...), oob, nil); err != nil {
		return fmt.Errorf("send %c: %w", m.Kind, err)
	}
	return nil
}

// Receive reads one message. A descriptor in it belongs to the caller.
func Receive(c *net.UnixConn) (Message, error) {
	buf := make([]byte, maxMessage)
	oob := make([]byte, unix.CmsgSpace(8*4))
	n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob) // sets close-on-exec
	if err != nil {
		return Message{}, err
	}
	fds, err := rights(oob[:oobn])
	if err == nil && flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 {
		err = errors.New("a truncated message")
	}
	if err == nil && len(fds) > 1 {
		err = fmt.Errorf("%d descriptors in one message", len(fds))
	}
	if err == nil && n == 0 {
		err = errors.New("an empty message")
	}
	if err != nil {
		closeAll(fds)
		return Message{}, err
	}
	m := Message{Kind: Kind(buf[0]), Body: buf[1:n:n], FD: -1}
	if len(fds) == 1 {
		m.FD = fds[0]
	}
	return m, nil
}

func rights(oob []byte) ([]int, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	var fds []int
	for i := range msgs {
		got, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

func termBody(grace time.Duration) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(max(0, grace.Milliseconds())))
}

func parseTerm(body []byte) (time.Duration, bool) {
	if len(body) != 8 {
		return 0, false
	}
	ms := binary.BigEndian.Uint64(body)
	if ms > uint64(24*time.Hour/time.Millisecond) {
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}
