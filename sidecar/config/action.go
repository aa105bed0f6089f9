package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// RetryOn is a set of reasons to send a request again. Statuses are HTTP's; another protocol's are taken for the HTTP status
// that means the same.
type RetryOn uint8

// Reasons to send a request again.
const (
	RetryConnect     RetryOn = 1 << iota // nothing of it has reached an endpoint
	RetryReset                           // the endpoint has ended the connection, or taken too long, before the first byte of an answer
	RetryServerError                     // a status of 500 to 599, and whatever RetryReset is about
	RetryGateway                         // a status of 502, 503 or 504, and an endpoint that has taken too long
)

// Retry says when a request is sent again: as long as all of it is here, nothing of an answer has reached the client, and the
// route's Attempts, the timeout and the budget allow it; never to the endpoint that has just failed while there is another.
type Retry struct {
	On RetryOn
	// Statuses are further ones to retry on.
	Statuses []int
	// AnyMethod retries what may do something twice, too: HTTP's POST and PATCH, every RPC. Else those are only sent again when
	// nothing of them was processed: on RetryConnect, and when a Bolt server is busy.
	AnyMethod bool
	// PerTry bounds each try; 0 does not. With Hedge it only says when one is slow.
	PerTry time.Duration
	// Hedge waits on for a try that has taken PerTry, and sends another beside it where a retry would be allowed. The first
	// answer counts that is not one to retry on. It needs PerTry, an attempt more and slow tries among the reasons.
	Hedge bool
	// Backoff before the first retry; it doubles with each, up to MaxBackoff, and a random part of it is waited. The defaults
	// are DefaultBackoff and ten times Backoff.
	Backoff, MaxBackoff time.Duration
	// BudgetPercent of the requests that this process has open by this route may be retries at a time, and BudgetMin in any
	// case. 0 means DefaultBudgetPercent and DefaultBudgetMin. RetryConnect costs no endpoint anything and needs no budget.
	BudgetPercent, BudgetMin uint32
}

// Defaults of a Retry.
const (
	DefaultBackoff       = 25 * time.Millisecond
	DefaultBudgetPercent = 20
	DefaultBudgetMin     = 3
)

// Wants says that an answer with this HTTP status is one to retry on.
func (r *Retry) Wants(status int) bool {
	switch {
	case r.On&RetryServerError != 0 && status >= 500, r.On&RetryGateway != 0 && status >= 502 && status <= 504:
		return true
	}
	return slices.Contains(r.Statuses, status)
}

// WantsReset says that a connection which ended without an answer is one to retry on.
func (r *Retry) WantsReset() bool { return r.On&(RetryReset|RetryServerError) != 0 }

// WantsSlow says that a try without an answer in time is one to retry on.
func (r *Retry) WantsSlow() bool { return r.WantsReset() || r.Wants(504) }

// Fraction is Numerator in Denominator.
type Fraction struct{ Numerator, Denominator uint32 }

func (f Fraction) validate() error {
	if f.Denominator == 0 || f.Numerator > f.Denominator {
		return fmt.Errorf("%d in %d is no fraction up to 1", f.Numerator, f.Denominator)
	}
	return nil
}

// Fault spoils some requests on purpose: first the delay, then the answer.
type Fault struct {
	// Delayed requests wait for Delay before anything else happens to them; the route's timeout begins after it.
	Delayed Fraction
	Delay   time.Duration
	// Aborted requests are answered here with Status, HTTP's or what the protocol has for it.
	Aborted Fraction
	Status  int
}

// maxDelay bounds a Fault's delay.
const maxDelay = time.Hour

func (f *Fault) validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if f.Delay == 0 && f.Status == 0 {
		bad("it needs a delay or an abort")
	}
	if f.Delay < 0 || f.Delay > maxDelay {
		bad("delay %s is not between 0 and %s", f.Delay, maxDelay)
	}
	if err := f.Delayed.validate(); f.Delay > 0 && err != nil {
		bad("delay: %w", err)
	}
	if err := f.Aborted.validate(); f.Status != 0 && err != nil {
		bad("abort: %w", err)
	}
	if f.Status != 0 && (f.Status < minStatus || f.Status > maxStatus) {
		bad("abort: status %d is not between %d and %d", f.Status, minStatus, maxStatus)
	}
	return errs
}

// Limit is a token bucket: Burst tokens at most, Tokens more in each Every. What finds none is refused: HTTP status 429, a
// Bolt server that is busy. The zero value limits nothing.
type Limit struct {
	Burst, Tokens uint32
	Every         time.Duration
}

// Validate says what is wrong with l.
func (l Limit) Validate() error {
	if l == (Limit{}) {
		return nil
	}
	if l.Burst == 0 || l.Tokens == 0 || l.Every <= 0 || l.Every > 24*time.Hour {
		return fmt.Errorf("limit: %d tokens, %d more in each %s: each has to be above 0, and the time at most a day", l.Burst, l.Tokens, l.Every)
	}
	if l.Every/time.Duration(l.Tokens) == 0 {
		return fmt.Errorf("limit: %d tokens in each %s are more than one in a nanosecond", l.Tokens, l.Every)
	}
	return nil
}

// most bounds what one Retry may have.
const (
	maxStatuses = 100
	maxBackoff  = time.Hour
)

func (r *Retry) validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.On == 0 && len(r.Statuses) == 0 {
		bad("it has nothing to retry on")
	}
	if r.On >= RetryGateway<<1 {
		bad("unknown reasons %#x", r.On)
	}
	if n := len(r.Statuses); n > maxStatuses {
		bad("%d statuses are more than %d", n, maxStatuses)
	}
	for _, s := range r.Statuses {
		if s < minStatus || s > maxStatus {
			bad("status %d is not between %d and %d", s, minStatus, maxStatus)
		}
	}
	if r.PerTry < 0 {
		bad("the timeout of a try %s is negative", r.PerTry)
	}
	if r.Hedge && r.PerTry == 0 {
		bad("hedging needs the time after which a try is slow: set the timeout of a try")
	}
	if r.Hedge && !r.WantsSlow() {
		bad("hedging needs slow tries to be retried: add resets, gateway errors, errors of the server or the status 504 to the reasons")
	}
	if r.Backoff < 0 || r.MaxBackoff < 0 || r.Backoff > maxBackoff || r.MaxBackoff > maxBackoff {
		bad("the backoff %s to %s is not between 0 and %s", r.Backoff, r.MaxBackoff, maxBackoff)
	}
	if r.MaxBackoff > 0 && r.MaxBackoff < r.Backoff {
		bad("the backoff's maximum %s is below its first %s", r.MaxBackoff, r.Backoff)
	}
	if r.BudgetPercent > 100 {
		bad("a budget of %d percent is more than all", r.BudgetPercent)
	}
	return errs
}

// ValidateActions judges what a route does besides sending requests on.
func (r *Route) ValidateActions() []error {
	var errs []error
	for _, part := range []struct {
		name  string
		check func() []error
		set   bool
	}{
		{"retry", func() []error { return r.Retry.validate() }, r.Retry != nil},
		{"fault", func() []error { return r.Fault.validate() }, r.Fault != nil},
		{"edit", func() []error { return r.Edit.validate() }, r.Edit != nil},
		{"redirect", func() []error { return r.Redirect.validate() }, r.Redirect != nil},
	} {
		if !part.set {
			continue
		}
		for _, err := range part.check() {
			errs = append(errs, fmt.Errorf("%s: %w", part.name, err))
		}
	}
	errs = append(errs, r.validatePriority()...)
	if err := r.Limit.Validate(); err != nil {
		errs = append(errs, err)
	}
	if r.Retry != nil && r.Retry.Hedge && r.Attempts == 1 {
		errs = append(errs, errors.New("retry: hedging needs a second attempt"))
	}
	if r.Retry != nil && r.Cluster == "" && len(r.Split) == 0 {
		errs = append(errs, errors.New("retry: there is no cluster to try"))
	}
	if strings.HasPrefix(r.Sticky, ":") || strings.HasPrefix(r.Sticky, QueryPrefix) {
		errs = append(errs, fmt.Errorf("sticky: %q is no header", r.Sticky))
	}
	if r.Sticky != "" && len(r.Split) == 0 {
		errs = append(errs, errors.New("sticky: there is no split to stick to a part of"))
	}
	return errs
}
