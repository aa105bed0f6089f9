package slot

import "time"

// Event is one thing that happened, at a time.
type Event struct {
	At   time.Time
	What What
	// Own and Serving are the generations of File: this slot's, and the one that is to serve.
	Own, Serving int64
	// Held says, with Seen, that somebody holds the lock, and with Obtained that somebody did.
	Held bool
	// Left says, with Obtained, that the last one who held the lock has left the pod for good.
	Left bool
	// Code and Reason of Ended. Gave says that the child handed over before.
	Code   int
	Reason string
	Gave   bool
	// Phase of Is.
	Phase Phase
}

// What happened.
type What int

// The events.
const (
	File     What = iota // the file was read, for the first time or with another content
	Seen                 // the answer to Look
	Obtained             // the answer to Wait: the lock is held here
	Is                   // the child says what it does
	Ended                // the child and its supervision are over; what it held is closed
	Term                 // SIGTERM or SIGINT
	Tick                 // the time that Wake gave has come
)

// Phase of the child, as far as it matters here.
type Phase int

// The phases.
const (
	Starting Phase = iota // serves nobody yet
	Taking                // in a handover, or serving what a failed one left to it
	Serving               // the pod depends on it
)

// Action is one thing to do.
type Action struct {
	Do Do
	// Code and Reason of Exit, Reason of Stop and of Fail.
	Code   int
	Reason string
}

// Do is the kind of an Action.
type Do int

// The actions.
const (
	Look      Do = iota // say whether the lock is held
	Wait                // take the lock as soon as it is free
	Release             // let the lock go that was obtained
	Serve               // start the child with the lock and every listener that is kept
	Candidate           // start the child with nothing
	Stop                // kill the child
	Leave               // let the child send its clients away and end
	Forget              // close the listeners that are kept, in the other slot too: the pod is not served
	Own                 // the child serves: what is kept for another's place is not needed
	Fail                // write down that this generation's candidate failed
	Exit                // end with Code
)
