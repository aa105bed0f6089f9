package loop

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Image is what a loop knows of a connection: with it and the descriptor another process carries on at this byte.
type Image struct {
	ID     uint64
	In     []byte // read, and not taken by the handler
	Out    []byte // written by the handler, and not sent
	Rx, Tx uint64 // bytes read and written since the connection began

	Dialled   bool // opened by us, not accepted
	EOF       bool // the peer's FIN was read
	Finished  bool // our FIN is to be sent after Out, or was
	Lingering bool // to be closed after Out
	Paused    bool

	Cipher Cipher // nil when the bytes are plain on the wire; In is plain with it, Out is not
	Raw    []byte // with a Cipher: read, and not decrypted
	Ended  bool   // with a Cipher: the peer has said that it sends no more, and the handler may not know
}

// Freeze takes the connection out of epoll and describes it. Until Thaw, Release or Drop it does no I/O; what is written
// to it is kept. The image shares its buffers. It may be called again, for the image.
func (c *Conn) Freeze() Image {
	if !c.frozen {
		c.loop.poller.remove(c.fd)
		c.loop.Cancel(&c.last)
		c.frozen = true
		if c.layer != nil {
			c.seal()
		}
	}
	img := Image{
		ID: c.ID, In: c.in, Out: c.out, Rx: c.rx, Tx: c.tx,
		Dialled: c.dialled, EOF: c.eof, Finished: c.finished, Lingering: c.lingering, Paused: c.paused,
	}
	if s := c.layer; s != nil {
		img.Cipher, img.Raw, img.Ended = s.cipher, s.raw, s.ended
	}
	return img
}

// ImageSize is how many bytes Freeze would write down of what was read and not taken, and written and not sent; with a cipher
// a bit more.
func (c *Conn) ImageSize() int {
	n := len(c.in) + c.Unsent()
	if c.layer != nil {
		const record, overhead = 1 << 10, 64 // of plain bytes, and what sealing them adds at most
		n += len(c.layer.raw) + (len(c.layer.plain)/record+2)*overhead
	}
	return n
}

// FD is the descriptor, for a Frozen connection to be handed over.
func (c *Conn) FD() int { return c.fd }

// Thaw resumes I/O after Freeze or Restore.
func (c *Conn) Thaw() error {
	if c.closed || !c.frozen {
		return nil
	}
	c.frozen = false
	c.want = interest
	if c.paused || c.eof {
		c.want = 0
	}
	c.progress, c.mark = c.loop.now, len(c.in)
	c.anew()
	if c.blocked = c.Unsent() > 0; c.blocked {
		c.want |= unix.EPOLLOUT // and the handler hears Drained, whoever wrote these bytes
	}
	if err := c.loop.poller.add(c.fd, c.token, c.gen, c.want); err != nil {
		c.Close(err)
		return err
	}
	if c.finished || c.lingering {
		c.touch()
	}
	c.linger()
	if c.owed {
		c.Replay()
	}
	return nil
}

// Release forgets a frozen connection and closes the descriptor without a shutdown: its duplicate lives on elsewhere.
// The handler hears nothing.
func (c *Conn) Release() {
	if c.closed {
		return
	}
	c.closed = true
	c.loop.table.remove(c)
	_ = unix.Close(c.fd)
	c.release()
}

// Restore makes a frozen connection of an image and a descriptor, which it owns from here on. Thaw starts it.
func (l *Loop) Restore(fd int, img Image, h Handler) *Conn {
	c := &Conn{
		ID: img.ID, Handler: h, loop: l, fd: fd, rx: img.Rx, tx: img.Tx,
		dialled: img.Dialled, eof: img.EOF, finished: img.Finished, lingering: img.Lingering, paused: img.Paused,
		frozen: true,
	}
	if len(img.In) > 0 {
		c.in = l.pool.Append(nil, img.In)
	}
	if len(img.Out) > 0 {
		c.out = l.pool.Append(nil, img.Out)
	}
	if img.Cipher != nil {
		c.Secure(img.Cipher, img.Raw)
		c.layer.ended = img.Ended
	}
	c.owed = len(img.In)+len(img.Raw) > 0 || img.Ended && !img.EOF
	l.table.insert(c)
	return c
}

// Counters are what user space has read from and written to a TCP connection, as the kernel proves it: received minus
// queued, and acknowledged plus queued. A FIN is not counted on either side; our own SYN is.
type Counters struct{ Consumed, Written uint64 }

// States of the kernel's TCP (tcp_states.h) in which one side has ended.
const (
	tcpFinWait1 = 4
	tcpFinWait2 = 5
	tcpTimeWait = 6
	tcpClose    = 7
	tcpCloseW   = 8
	tcpLastAck  = 9
	tcpClosing  = 11
)

// Count reads the counters of fd. ok is false for what is not TCP or not connected any more, and while the peer is too
// busy for a stable sample.
func Count(fd int) (_ Counters, ok bool) {
	for range 64 {
		in1, err1 := unix.IoctlGetInt(fd, unix.SIOCINQ)
		out1, err2 := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		info, err3 := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err1 != nil || err2 != nil || err3 != nil || info.State == tcpClose {
			return Counters{}, false
		}
		in2, _ := unix.IoctlGetInt(fd, unix.SIOCINQ)
		out2, _ := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		if in1 == in2 && out1 == out2 {
			read, sent := fins(info.State)
			return Counters{
				Consumed: info.Bytes_received - uint64(in1) - read,
				Written:  info.Bytes_acked + uint64(out1) - sent,
			}, true
		}
	}
	return Counters{}, false
}

// Queues are the bytes of a Unix-domain connection between the two ends: Unread waits for this one; Unsent for the other,
// and is what the kernel needs for that. Nobody counts what has passed.
type Queues struct{ Unread, Unsent uint64 }

// Queued asks for the queues of fd; ok is false for what is no Unix-domain socket.
func Queued(fd int) (_ Queues, ok bool) {
	if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain != unix.AF_UNIX {
		return Queues{}, false
	}
	in, err1 := unix.IoctlGetInt(fd, unix.SIOCINQ)
	out, err2 := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	return Queues{Unread: uint64(in), Unsent: uint64(out)}, err1 == nil && err2 == nil
}

// Check compares the queues of a frozen connection with those of later: the peer may have written and read since. It fails
// when somebody else has read or written, unless the peer has hidden it.
func (q Queues) Check(later Queues) error {
	if later.Unread < q.Unread || later.Unsent > q.Unsent {
		return fmt.Errorf("there were %d bytes to read and %d on their way, and there are %d and %d", q.Unread, q.Unsent, later.Unread, later.Unsent)
	}
	return nil
}

// fins says whether the peer's FIN has arrived and whether ours was sent, 1 for yes: the kernel counts each as a byte.
func fins(state uint8) (read, sent uint64) {
	switch state {
	case tcpCloseW:
		return 1, 0
	case tcpFinWait1, tcpFinWait2:
		return 0, 1
	case tcpLastAck, tcpClosing, tcpTimeWait:
		return 1, 1
	}
	return 0, 0
}

// Check compares the kernel's counters with what the owners of img have counted since the connection began.
func (img Image) Check(k Counters) error {
	tx := img.Tx
	if img.Dialled {
		tx++
	}
	if k.Consumed != img.Rx || k.Written != tx {
		return fmt.Errorf("connection %x: the kernel counts %d bytes read and %d written, its owners %d and %d",
			img.ID, k.Consumed, k.Written, img.Rx, tx)
	}
	return nil
}
