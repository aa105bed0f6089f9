package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Outlier says which endpoints get no requests for a while because of how they have answered. A count of 0 is not looked at.
type Outlier struct {
	// Consecutive failures: errors of the endpoint and of the way to it.
	Consecutive int
	// ConsecutiveGateway failures: no connection, no answer, an answer that says that it comes from no application.
	ConsecutiveGateway int
	// Interval between two looks at success rates; an ejection counts for the next one's length until as many intervals have
	// passed.
	Interval time.Duration
	// BaseEjection times the number of ejections is how long one lasts, at most MaxEjection.
	BaseEjection, MaxEjection time.Duration
	// MaxPercent of the cluster's endpoints are ejected at a time; AlwaysOne allows one whatever that is.
	MaxPercent int
	AlwaysOne  bool
	// SuccessRate looks at the endpoints beside each other; nil does not.
	SuccessRate *SuccessRate
}

// SuccessRate ejects endpoints whose rate is more than Factor standard deviations below the mean.
type SuccessRate struct {
	// Endpoints with Requests in an interval have to be there for a verdict.
	Endpoints, Requests int
	Factor              float64
}

// Defaults of an Outlier, as Envoy has them.
const (
	DefaultConsecutive     = 5
	DefaultOutlierInterval = 10 * time.Second
	DefaultBaseEjection    = 30 * time.Second
	DefaultMaxEjection     = 300 * time.Second
)

func (o *Outlier) validate() []error {
	if o == nil {
		return nil
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("outlier: "+format, args...)) }
	if o.Consecutive < 0 || o.ConsecutiveGateway < 0 {
		bad("a negative number of failures in a row")
	}
	if o.Interval <= 0 {
		bad("an interval of %s is too short", o.Interval)
	}
	if o.BaseEjection <= 0 || o.MaxEjection < o.BaseEjection {
		bad("ejections from %s to %s make no sense", o.BaseEjection, o.MaxEjection)
	}
	if o.MaxPercent < 0 || o.MaxPercent > 100 {
		bad("%d %% are not between 0 and 100", o.MaxPercent)
	}
	if r := o.SuccessRate; r != nil && (r.Endpoints < 1 || r.Requests < 1 || !(r.Factor >= 0)) {
		bad("success rate: %d endpoints with %d requests, factor %v: all have to be positive", r.Endpoints, r.Requests, r.Factor)
	}
	return errs
}

// CheckKind says what an active check asks.
type CheckKind uint8

// Kinds of a Check.
const (
	CheckTCP  CheckKind = iota // whether it accepts a connection
	CheckHTTP                  // GET Path
	CheckBolt                  // a heartbeat
	checkKinds
)

// Check asks every endpoint from time to time whether it is well.
type Check struct {
	Kind CheckKind
	// Interval from the end of one check to the start of the next, and up to Jitter more.
	Interval, Jitter time.Duration
	Timeout          time.Duration
	// Unhealthy checks in a row that fail, Healthy ones that do not, change the verdict; the first one alone makes it.
	Unhealthy, Healthy int
	// Path and Host of a GET, which has to be answered with a status from Expect[0] to Expect[1]-1.
	Path, Host string
	Expect     [2]int
}

// Bounds of a Check.
const (
	minCheckInterval = 100 * time.Millisecond
	maxCheckPath     = 1024
)

func (c *Check) validate() []error {
	if c == nil {
		return nil
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("health check: "+format, args...)) }
	if c.Kind >= checkKinds {
		bad("unknown kind %d", c.Kind)
	}
	if c.Interval < minCheckInterval {
		bad("an interval of %s is shorter than %s", c.Interval, minCheckInterval)
	}
	if c.Timeout <= 0 || c.Jitter < 0 {
		bad("a timeout of %s with a jitter of %s makes no sense", c.Timeout, c.Jitter)
	}
	if c.Unhealthy < 1 || c.Healthy < 1 {
		bad("thresholds %d and %d have to be positive", c.Unhealthy, c.Healthy)
	}
	if c.Kind == CheckHTTP {
		if err := token(c.Path); err != nil || !strings.HasPrefix(c.Path, "/") {
			bad("%q is no path", c.Path)
		}
		if token(c.Host) != nil {
			bad("%q is no host", c.Host)
		}
		if c.Expect[0] < 100 || c.Expect[1] <= c.Expect[0] || c.Expect[1] > 600 {
			bad("statuses from %d to below %d make no sense", c.Expect[0], c.Expect[1])
		}
	}
	return errs
}

// token checks that s can stand in a request's head.
func token(s string) error {
	if len(s) > maxCheckPath {
		return fmt.Errorf("%d bytes are more than %d", len(s), maxCheckPath)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f {
			return errors.New("it has a space or a control character")
		}
	}
	return nil
}
