package handover

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// DefaultRelayQueue is the most bytes of relays that wait to be sent.
	DefaultRelayQueue = 64 << 20
	// inboxLimit is the weight of unprocessed messages above which reading pauses.
	inboxLimit = 4 << 20
	// farewell is how long the last messages may take to be sent.
	farewell = 200 * time.Millisecond
	// crowded is how long to wait when the kernel is out of room for descriptors.
	crowded = time.Millisecond
)

// link carries messages between a machine and its peer. Two goroutines do the I/O: blocking sends in both directions
// would deadlock. Events come out in the order in which things happened: that RESUMED was taken is always seen before
// whatever the peer did next.
type link struct {
	c       *conn
	out     *outbox
	version atomic.Uint32  // for relays
	stamp   func(*Message) // last touch before a message of the machine is written; may be nil

	mu     sync.Mutex // held while the kernel takes a packet and while an event is queued
	room   sync.Cond
	inbox  []Event
	weight int
	gone   bool // nobody reads the inbox any more
	ready  chan struct{}

	writerDone, readerDone chan struct{}
}

// newLink starts the goroutines of a link over c, which it owns.
func newLink(c *conn, relayQueue int) *link {
	if relayQueue <= 0 {
		relayQueue = DefaultRelayQueue
	}
	l := &link{
		c: c, out: newOutbox(relayQueue), ready: make(chan struct{}, 1),
		writerDone: make(chan struct{}), readerDone: make(chan struct{}),
	}
	l.room.L = &l.mu
	go l.write()
	go l.read()
	return l
}

// post queues an event.
func (l *link) post(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.postLocked(e)
}

func (l *link) postLocked(e Event) {
	l.inbox = append(l.inbox, e)
	l.weight += weight(e)
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// next waits for the next event.
func (l *link) next() Event {
	for {
		l.mu.Lock()
		if len(l.inbox) > 0 {
			e := l.inbox[0]
			l.inbox[0] = Event{}
			l.inbox = l.inbox[1:]
			l.weight -= weight(e)
			l.room.Broadcast()
			l.mu.Unlock()
			return e
		}
		l.mu.Unlock()
		<-l.ready
	}
}

// weight is the memory that an event keeps.
func weight(e Event) int {
	n := 64
	for _, r := range e.Message.Relays {
		n += len(r.Data)
	}
	return n + e.Message.Batch.size() + len(e.Message.Warm.State)
}

// send queues a message of the machine.
func (l *link) send(m Message) {
	if l.stamp != nil {
		l.stamp(&m)
	}
	// Only relays can be refused, and the machines send none.
	_ = l.out.add(&outItem{kind: m.Kind, version: m.Version, id: m.ID, body: encodeBody(m), fds: m.descriptors()})
}

// relay queues a frame; any goroutine may call it. What cannot be queued ends the handover: a frame is never lost silently.
func (l *link) relay(r Relay) {
	if len(r.Data) > MaxRelay || r.Loop < 0 || r.Loop >= maxLoops {
		l.post(Event{Kind: EventBroken, Reason: "a relay is larger than a handover carries"})
		return
	}
	body := encodeBody(Message{Kind: KindRelay, Relays: []Relay{r}})
	it := &outItem{kind: KindRelay, version: uint8(l.version.Load()), body: body}
	if r.Taken != nil {
		it.taken = []*atomic.Bool{r.Taken}
	}
	if err := l.out.add(it); err != nil {
		l.post(Event{Kind: EventBroken, Reason: err.Error()})
	}
}

// withdraw makes sure that no descriptor is sent from now on that was not sent entirely before.
func (l *link) withdraw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.withdraw()
}

// closeSend sends what is queued, as far as that takes no longer than farewell, and reports EventSendEnd.
func (l *link) closeSend() {
	l.out.finish()
	t := time.AfterFunc(farewell, l.stopSending)
	go func() {
		<-l.writerDone
		t.Stop()
	}()
}

func (l *link) stopSending() {
	l.out.close()
	_ = l.c.stopWriting() // fails only when the connection is closed, which stops it as well
}

// close ends both goroutines and gives back what was not used: the descriptors of messages that nobody took.
func (l *link) close() error {
	l.closeSend()
	<-l.writerDone
	err := l.c.Close()
	l.mu.Lock()
	l.gone = true
	l.room.Broadcast()
	l.mu.Unlock()
	<-l.readerDone
	for _, e := range l.inbox {
		err = errors.Join(err, closeAll(e.Message.descriptors()))
	}
	l.inbox = nil
	return err
}

// write is the writer's goroutine; it ends with EventSendEnd.
func (l *link) write() {
	defer close(l.writerDone)
	for {
		it, acks := l.out.next()
		var err error
		switch {
		case acks > 0:
			err = l.ack(acks)
		case it == nil:
			l.post(Event{Kind: EventSendEnd})
			return
		default:
			err = l.item(it)
		}
		if err != nil && !errors.Is(err, errWithdrawn) {
			l.out.close()
			l.post(Event{Kind: EventSendEnd})
			return
		}
	}
}

// item sends one message. That the kernel took its last packet is reported under the lock that also orders what is
// read: the peer's reaction cannot overtake it.
func (l *link) item(it *outItem) error {
	left := len(it.body)
	err := packets(it.version, it.kind, it.body, it.fds, func(p []byte, fds []int) error {
		left -= len(p) - packetHeader
		if len(fds) > 0 {
			for {
				acks, ok := l.out.room()
				if !ok {
					return errWithdrawn
				}
				if acks == 0 {
					break
				}
				if err := l.ack(acks); err != nil {
					return err
				}
			}
		}
		taken := func() {}
		if left == 0 && (it.kind == KindResumed || it.kind == KindBye) {
			taken = func() { l.postLocked(Event{Kind: EventSent, Message: Message{Kind: it.kind, ID: it.id}}) }
		}
		return l.packet(p, fds, func() bool { return !it.dead }, taken)
	})
	for _, t := range it.taken {
		t.Store(err == nil)
	}
	return err
}

// packet sends one packet, waiting when the kernel is out of room for descriptors or memory.
func (l *link) packet(p []byte, fds []int, usable func() bool, taken func()) error {
	for {
		err := l.c.send(p, fds, &l.mu, usable, taken)
		if !errors.Is(err, unix.ETOOMANYREFS) && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.ENOMEM) {
			return err
		}
		t := time.NewTimer(crowded)
		<-t.C
		if l.out.over() {
			return os.ErrClosed
		}
	}
}

func (l *link) ack(n uint64) error {
	body := appendUint(nil, tagID, n)
	return packets(0, KindAck, body, nil, func(p []byte, _ []int) error {
		return l.packet(p, nil, func() bool { return true }, func() {})
	})
}

// read is the reader's goroutine; it ends with EventEOF. After a malformed packet it reads on: what was sent before the
// end decides who owns a batch.
func (l *link) read() {
	defer close(l.readerDone)
	buf := make([]byte, MaxPacket)
	var asm assembler
	for {
		p, fds, err := l.c.recv(buf)
		if err == nil && len(p) == 0 {
			_ = closeAll(asm.fds)
			l.post(Event{Kind: EventEOF})
			return
		}
		if err != nil {
			_ = closeAll(append(fds, asm.fds...))
			asm = assembler{}
			if !errors.Is(err, errTruncated) && !errors.Is(err, ErrFormat) {
				l.post(Event{Kind: EventEOF})
				return
			}
			l.post(Event{Kind: EventBroken, Reason: "protocol: " + err.Error()})
			continue
		}
		if len(fds) > 0 {
			l.out.owe()
		}
		l.assemble(&asm, p, fds)
	}
}

func (l *link) assemble(asm *assembler, p []byte, fds []int) {
	m, orphans, err := asm.add(p, fds)
	_ = closeAll(orphans)
	switch {
	case err != nil:
		l.post(Event{Kind: EventBroken, Reason: "protocol: " + err.Error()})
	case m == nil:
	case m.Kind == KindAck:
		l.out.acked(m.ID)
	default:
		l.deliver(Event{Kind: EventMessage, Message: *m})
	}
}

// deliver queues a message, but lets the machine catch up first.
func (l *link) deliver(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.weight > inboxLimit && !l.gone {
		l.room.Wait()
	}
	l.postLocked(e)
}
