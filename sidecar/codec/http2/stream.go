package http2

// Stream is one stream of a connection that is not closed on both sides, or was not until now.
type Stream struct {
	ID uint32
	// Owner is whatever the connection's owner keeps with the stream.
	Owner any

	send int64 // what the peer allows to be sent; it may be negative
	recv int64 // what the peer may still send
	owed int64 // taken by the owner, and not yet granted again
	left int64 // of the peer's body, when it is counted

	headed    bool // the head of the peer's message has come; for a response the final one
	counted   bool // Content-Length says how long the peer's body is
	bodiless  bool // it is the response to a HEAD: Content-Length says nothing about it, and there is no body
	remoteEnd bool // the peer has ended its side
	localEnd  bool
	closed    bool // both sides have ended, or one has reset it
}

// Closed says that nothing more can be sent or received on it.
func (s *Stream) Closed() bool { return s.closed }

// RemoteEnded says that the peer sends nothing more.
func (s *Stream) RemoteEnded() bool { return s.remoteEnd || s.closed }

// LocalEnded says that this end may send nothing more.
func (s *Stream) LocalEnded() bool { return s.localEnd || s.closed }

// newStream opens a stream. The memory of an earlier one is used again.
func (c *Conn) newStream(id uint32) *Stream {
	var s *Stream
	if last := len(c.spare) - 1; last >= 0 {
		s = c.spare[last]
		c.spare = c.spare[:last]
	} else {
		s = &Stream{}
	}
	*s = Stream{ID: id, send: int64(c.peerWindow), recv: streamWindow}
	c.streams[id], c.latest = s, s
	return s
}

// Recycle gives back a closed stream that its owner has forgotten.
func (c *Conn) Recycle(s *Stream) {
	if s.closed && len(c.spare) < maxStreams {
		s.Owner = nil
		c.spare = append(c.spare, s)
	}
}

// Stream returns an open stream, nil when there is none with this id. Most frames follow another one of their stream.
func (c *Conn) Stream(id uint32) *Stream {
	if c.latest != nil && c.latest.ID == id {
		return c.latest
	}
	s := c.streams[id]
	if s != nil {
		c.latest = s
	}
	return s
}

// Streams is the number of open streams.
func (c *Conn) Streams() int { return len(c.streams) }

// Each calls fn for every open stream, in no order. fn may close the stream that it is given.
func (c *Conn) Each(fn func(*Stream)) {
	for _, s := range c.streams {
		fn(s)
	}
}

// Settled says that the peer's settings are known.
func (c *Conn) Settled() bool { return c.settled }

// Room is how many streams may be opened now: none before the server has said how many it allows.
func (c *Conn) Room() int {
	if !c.settled || c.goneAway || c.lastOwn >= maxWindow-1 {
		return 0
	}
	return max(int(min(c.peerStreams, 1<<20))-len(c.streams), 0)
}

// Open begins a stream; there must be Room, and this end must be the client.
func (c *Conn) Open() *Stream {
	if c.lastOwn == 0 {
		c.lastOwn = 1
	} else {
		c.lastOwn += 2
	}
	return c.newStream(c.lastOwn)
}

// endRemote notes that the peer has ended its side.
func (c *Conn) endRemote(s *Stream) {
	if s.remoteEnd = true; s.localEnd {
		c.close(s, false)
	}
}

func (c *Conn) endLocal(s *Stream) {
	if s.localEnd = true; s.remoteEnd {
		c.close(s, false)
	}
}

// close removes a stream. What its peer sent before it knew is dropped when ours is the reset.
func (c *Conn) close(s *Stream, resetByUs bool) {
	if s.closed {
		return
	}
	s.closed = true
	delete(c.streams, s.ID)
	if c.latest == s {
		c.latest = nil
	}
	c.remember(s.ID, resetByUs)
}

// memory is how many closed streams are remembered.
const memory = maxStreams

// remember keeps the id of a closed stream for a while. Ids have 31 bits; the highest says that the reset was ours.
func (c *Conn) remember(id uint32, resetByUs bool) {
	if resetByUs {
		id |= 1 << 31
	}
	if len(c.recent) < memory {
		c.recent = append(c.recent, id)
		return
	}
	c.recent[c.recentAt] = id
	c.recentAt = (c.recentAt + 1) % memory
}

// recall looks a closed stream up.
func (c *Conn) recall(id uint32) (known, resetByUs bool) {
	for _, r := range c.recent {
		if r&^(1<<31) == id {
			return true, r>>31 == 1
		}
	}
	return false, false
}

// idle says that a stream was never opened.
func (c *Conn) idle(id uint32) bool {
	if ours := id%2 == 1; ours == c.client {
		return id > c.lastOwn
	}
	return id > c.lastPeer
}
