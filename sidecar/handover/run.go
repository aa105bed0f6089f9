package handover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
)

// What can be wrong before a handover has begun.
var (
	// ErrBusy: another candidate is being served.
	ErrBusy = errors.New("the serving process is busy with another candidate")
	// ErrKey: the peer does not know the key of this handover, or has another user.
	ErrKey = errors.New("the peer could not prove that it belongs to this handover")
	// ErrNotBegun: the serving process has not been told of this handover.
	ErrNotBegun = errors.New("the serving process has not been told to begin")
)

// ServeConfig is what a serving process needs for its part in one handover.
type ServeConfig struct {
	// Listener is the descriptor of the handover socket (Listen); Serve works on a duplicate.
	Listener int
	// Key returns the one-time key and the generations of the handover that has begun; ok is false while none has.
	// It is asked for every caller, from any goroutine.
	Key func() (key []byte, from, to int64, ok bool)
	// Donor is the data plane.
	Donor Donor
	// Sockets lists every listening descriptor, the handover's own too. They stay the caller's.
	Sockets func() []Socket
	// Descriptors says how many descriptors are going to move; nil leaves the candidate's room unchecked.
	Descriptors func() int64
	// Codecs that can freeze their connections; OnPlan is told what becomes of each.
	Codecs []Codec
	OnPlan func(Plan)
	// Build names this binary, for the peer's log.
	Build string
	// Versions of the protocol; the zero value means all that this build speaks.
	Versions           Range
	Features, Required uint64
	// BatchLimit is the most connections in a batch (64).
	BatchLimit int
	// RelayQueue is the most bytes that wait to be sent before the handover is aborted (64 MiB).
	RelayQueue int
	Deadlines  Deadlines
	// Clock measures durations.
	Clock func() time.Time
	Log   logr.Logger
	// OnPhase is told of each phase; it must not block. Nil is allowed.
	OnPhase func(Phase)

	tamper func(*session) // for tests: changes a session before it runs
}

// TakeConfig is what a candidate needs for its part in one handover.
type TakeConfig struct {
	// Address of the serving process's handover socket.
	Address string
	// Key is the one-time key of the handover From one generation To the next.
	Key      []byte
	From, To int64
	// Candidate is the data plane. If it has a method EndMove(), that is called when no relay will come or go any more,
	// however the handover ended: requests that still wait for one have to be answered with an error. A method EndRelay() is
	// called when none will go any more because the handover is given up here.
	Candidate Candidate
	// AdoptSockets takes the listening descriptors over, which are its own from then on, also when it fails.
	AdoptSockets func([]Socket) error
	// Wait is how long to try while nobody listens or the serving process has not been told yet (30 s).
	Wait time.Duration
	// The rest is as in ServeConfig.
	Codecs             []Codec
	OnPlan             func(Plan)
	Build              string
	Versions           Range
	Features, Required uint64
	RelayQueue         int
	Deadlines          Deadlines
	Clock              func() time.Time
	Log                logr.Logger
	OnPhase            func(Phase)

	tamper func(*session)
}

// Validate reports everything that is wrong with the configuration.
func (c ServeConfig) Validate() error {
	var errs []error
	missing := func(bad bool, name string) {
		if bad {
			errs = append(errs, fmt.Errorf("serve config: %s is missing", name))
		}
	}
	missing(c.Listener < 0, "Listener")
	missing(c.Key == nil, "Key")
	missing(c.Donor == nil, "Donor")
	missing(c.Sockets == nil, "Sockets")
	missing(c.Clock == nil, "Clock")
	return errors.Join(errs...)
}

// Validate reports everything that is wrong with the configuration.
func (c TakeConfig) Validate() error {
	var errs []error
	missing := func(bad bool, name string) {
		if bad {
			errs = append(errs, fmt.Errorf("take config: %s is missing", name))
		}
	}
	missing(c.Address == "", "Address")
	missing(len(c.Key) == 0, "Key")
	missing(c.Candidate == nil, "Candidate")
	missing(c.AdoptSockets == nil, "AdoptSockets")
	missing(c.Clock == nil, "Clock")
	return errors.Join(errs...)
}

// Serve waits for a candidate that knows the key and hands over to it. It returns when that handover has ended, well or
// not; the error is for what kept it from taking place at all: the context, the configuration, the listener.
//
// With Result.OK the candidate has everything, every bounce has been sent, and this process may exit. Otherwise this
// process accepts and serves again what it still has, and Serve may be called again.
func Serve(ctx context.Context, cfg ServeConfig) (Result, error) {
	if err := cfg.Validate(); err != nil {
		return Result{}, err
	}
	ln, err := newListener(cfg.Listener)
	if err != nil {
		return Result{}, err
	}
	d := newDesk(cfg, ln)
	defer d.close()
	got, err := d.wait(ctx)
	if err != nil {
		return Result{}, err
	}
	return d.handOver(ctx, got), nil
}

// Take connects to the serving process and takes over from it. It returns when the handover has ended, well or not. The
// error is for what kept it from taking place at all (ErrBusy, ErrKey, ErrNotBegun, nobody listens, the context); the
// result then says so too, for the report.
//
// With Result.OK this process serves, and is the only one. Otherwise it has to leave, but not before its connections are
// closed when Result.Moved is more than 0 or clients have connected since the phase Accept: those are its own.
func Take(ctx context.Context, cfg TakeConfig) (Result, error) {
	if err := cfg.Validate(); err != nil {
		return Result{}, err
	}
	began := cfg.Clock()
	c, err := call(ctx, cfg)
	if err != nil {
		r := Result{From: cfg.From, To: cfg.To, Step: PhaseHello.String(), Reason: err.Error()}
		r.DurationMicros = cfg.Clock().Sub(began).Microseconds()
		return r, err
	}
	return takeOver(ctx, cfg, c), nil
}

// hello is how this process introduces itself.
func hello(from, to int64, build string, v Range, features, required uint64, codecs []Codec) Hello {
	if v == (Range{}) {
		v = Range{Min: MinVersion, Max: MaxVersion}
	}
	return Hello{
		From: from, To: to, Build: build, Headroom: -1, Versions: v,
		Features: features | required, Required: required, Codecs: codecs,
	}
}
