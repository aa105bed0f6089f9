package handover

import "sync/atomic"

// Socket is one listening descriptor with the key that names it in every generation ("admin", "handover",
// or "listener/NAME").
type Socket struct {
	Key string
	FD  int
}

// Conn is one frozen connection: its descriptor, and everything a new process needs to carry on at this byte.
type Conn struct {
	FD int
	// State is opaque here; only the data plane reads it.
	State []byte
	// Counters at the freeze, for the check that nobody touched the connection in between.
	Counters Counters
}

// Counters are byte totals of one TCP connection, as the kernel proves them and as the owner counted them.
// All are zero for a connection that is still being opened. For a Unix-domain one they are what its queues held, as the kernel
// does not count what has passed: Consumed is SIOCINQ, Written is SIOCOUTQ.
type Counters struct {
	// Consumed is tcpi_bytes_received - SIOCINQ: what user space has read.
	Consumed uint64
	// Written is tcpi_bytes_acked + SIOCOUTQ: what user space has written.
	Written uint64
}

// Batch is a set of connections that move together, or a part of one. A request and both its connections never straddle loops.
type Batch struct {
	ID    uint64
	Loop  int
	Conns []Conn
	// More says that a further part of this batch follows: nothing of it moves before all of it is prepared.
	More bool
}

// Donor is the serving data plane as its handover sees it. One goroutine calls it; no method blocks longer than a turn
// of a loop, but for Freeze, which may wait for a few seconds, while nothing is frozen, for what cannot move before it has
// ended.
type Donor interface {
	// Warm returns the state that is not a connection (configuration, health, counters), opaque here.
	Warm() ([]byte, error)
	// PauseAccept stops accepting without closing anything; ResumeAccept undoes it.
	PauseAccept()
	ResumeAccept()
	// HoldConfig makes configuration changes wait (true) or lets them go on (false).
	HoldConfig(hold bool)
	// Split says before that whether batches may have parts: the candidate takes them.
	Split(may bool)
	// BeginMove tells the loops that connections are about to leave: what cannot be served here any more is relayed.
	// EndMove undoes it after an abort: everything that is still here is served here.
	BeginMove(relay func(Relay))
	EndMove()
	// Freeze stops I/O on up to limit further connections, upstream ones first, and describes them. An empty batch means
	// that none is left. The donor still holds the descriptors. Frames for a frozen connection wait for Thaw or Release:
	// only then is it known on which side they belong. After an empty batch Freeze is called once more, when the last
	// relay of the candidate has been handed to Relayed; what has to be bounced must have been given to relay when that
	// call returns. A batch that is too heavy is thawed and asked for again under a new id with a lower limit.
	// While a batch says that there is More of it, Freeze is called again with its id for the next part, which is not empty. All of
	// a batch stands still from its first part on; Thaw and Release are for all of it.
	Freeze(id uint64, limit int) (Batch, error)
	// Thaw resumes a frozen batch here: it was not committed.
	Thaw(id uint64)
	// Release closes the donor's descriptors of a batch (close, never shutdown): the candidate owns it.
	Release(id uint64)
	// Relayed takes a frame from the candidate: for a connection that is still here, or to be bounced.
	Relayed(Relay)
}

// Candidate is the new data plane as its handover sees it.
type Candidate interface {
	// Warm takes the donor's state; nothing is served yet. An error aborts the handover.
	Warm(state []byte) error
	// Ready says whether this process can serve: configuration, limits, descriptors. An error aborts the handover.
	Ready() error
	// Accept starts accepting on the listening sockets that were adopted; StopAccept undoes it after an abort.
	Accept()
	StopAccept()
	// BeginMove says where frames for connections that are still with the donor go. It comes before Accept.
	BeginMove(relay func(Relay))
	// Prepare rebuilds a batch from its states and checks its counters, without any I/O. On an error the donor thaws it.
	// The candidate owns the descriptors from here on, and closes them on an error. The parts of a batch have the same id; Activate
	// and Drop are for all of them, Drop also after an error of a further one.
	Prepare(b Batch) error
	// Activate starts I/O on a prepared batch: RESUMED has been sent.
	Activate(id uint64)
	// Drop closes the descriptors of a prepared batch (close, never shutdown).
	Drop(id uint64)
	// Relayed takes a frame from the donor.
	Relayed(Relay)
	// Done says that the donor holds nothing any more: nothing may be given to relay after it returned. Frames that were
	// on their way are bounced and still come. It may be called twice.
	//
	// A Candidate that also has a method EndRelay() is told when the handover is given up here: what was given to relay before
	// still goes to a donor that takes it, and nothing afterwards. It may be called twice. One that has a method EndMove() is told when no frame will come any more either, however the handover
	// ended: what still waits for one has to be answered with an error.
	Done()
}

// Relay is one frame that crosses between two generations while only one side of its request has moved.
// It is opaque here, at most MaxRelay bytes of Data; the transport keeps the order of relays and protocol messages.
type Relay struct {
	Loop int
	Data []byte
	// Taken is set, by any goroutine, when the kernel has taken the frame: a peer that lives gets it then, however the handover
	// ends. Nothing is taken any more when a candidate's EndMove is called. nil when nobody wants to know.
	Taken *atomic.Bool
}

// Result says how a handover ended, for reports.
type Result struct {
	From, To int64
	OK       bool
	// Step it was in when it ended: Hello, Warm, Ready, Accept, Move, Done.
	Step   string
	Reason string
	Moved  int64
	Lost   int64
	// FreezeP99Micros and DurationMicros are in microseconds.
	FreezeP99Micros int64
	DurationMicros  int64
}
