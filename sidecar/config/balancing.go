package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/axlemesh/axle/sidecar/address"
)

// Trait is what is known of an endpoint besides its address.
type Trait struct {
	// Weight is its part of the requests, up to MaxWeight; 0 means 1.
	Weight uint32
	// Zone that it is in; empty when nobody knows.
	Zone string
	// Unhealthy endpoints get requests only below Balancing.Panic.
	Unhealthy bool
}

// MaxWeight of one endpoint.
const MaxWeight = 1 << 16

// Policy says how an endpoint is chosen.
type Policy uint8

// Policies.
const (
	RoundRobin   Policy = iota // in turn, by weight, and evenly mixed
	LeastRequest               // of some that are drawn by weight, the one with the fewest open requests
	PeakEWMA                   // of two that are drawn by weight, the one with the smallest recent latency times open requests
	Random                     // drawn by weight
	RingHash                   // by a hash of the request, on a ring
	Maglev                     // by a hash of the request, in a table
	policies
)

// String is the policy's name in files and pages.
func (p Policy) String() string {
	if p >= policies {
		return "unknown"
	}
	return [policies]string{"roundRobin", "leastRequest", "peakEWMA", "random", "ringHash", "maglev"}[p]
}

// Policies lists all of them.
func Policies() []Policy {
	return []Policy{RoundRobin, LeastRequest, PeakEWMA, Random, RingHash, Maglev}
}

// Hashes says whether the policy looks at the request.
func (p Policy) Hashes() bool { return p == RingHash || p == Maglev }

// Bounds and defaults of a Balancing.
const (
	maxChoices = 16
	// MaxRing bounds the TableSize of a ring, MaxMaglev that of a Maglev table.
	DefaultRing   = 1024
	MaxRing       = 1 << 15
	DefaultMaglev = 65537
	MaxMaglev     = 65537
	maxHashKeys   = 16
	// DefaultZoneEndpoints is how many endpoints a cluster has at least when zones matter.
	DefaultZoneEndpoints = 6
	maxSlowStart         = 24 * time.Hour
)

// Balancing says which endpoint of a cluster takes a request.
type Balancing struct {
	Policy Policy
	// Choices that LeastRequest compares; 0 means 2.
	Choices int
	// TableSize is the number of entries of a ring, which may have up to twice as many, and 0 means DefaultRing; or of a Maglev
	// table, where it is a prime, and 0 means DefaultMaglev.
	TableSize int
	// Hash says what is hashed when the route does not; none means the client's address.
	Hash      []HashKey
	SlowStart SlowStart
	// ZoneAware keeps requests in the sidecar's own zone, as far as its endpoints can take its part of all requests.
	ZoneAware bool
	// ZoneEndpoints is how many endpoints there have to be for that; 0 means DefaultZoneEndpoints.
	ZoneEndpoints int
	// Panic is a percentage: when fewer endpoints are well, all of them get requests. 0 never does that: with none left,
	// requests fail.
	Panic int
}

// HashKey is one part of what is hashed: a header's value, or else the client's IP address. A request without the header
// goes without the part, one without any part to an endpoint by chance.
type HashKey struct {
	Header   string
	SourceIP bool
	// Terminal ends the list when this part was there.
	Terminal bool
}

// SlowStart gives an endpoint that joins, or that is well again, less than its weight for a while.
type SlowStart struct {
	// Window is how long; 0 means not at all.
	Window time.Duration
	// Aggression above 1 gives more in the beginning, below 1 less; 0 means 1, which is linear.
	Aggression float64
	// MinPercent of the weight is what it begins with; 0 means 10.
	MinPercent float64
}

func (c *Cluster) validateBalancing() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	b := &c.Balancing
	if b.Policy >= policies {
		bad("balancing: unknown policy %d", b.Policy)
	}
	if b.Choices != 0 && (b.Choices < 2 || b.Choices > maxChoices) {
		bad("balancing: %d choices are not between 2 and %d", b.Choices, maxChoices)
	}
	switch {
	case b.Policy == RingHash && (b.TableSize < 0 || b.TableSize > MaxRing):
		bad("balancing: a ring of %d entries is not between 1 and %d", b.TableSize, MaxRing)
	case b.Policy == Maglev && b.TableSize != 0 && (b.TableSize > MaxMaglev || !prime(b.TableSize)):
		bad("balancing: %d entries of a Maglev table are no prime up to %d", b.TableSize, MaxMaglev)
	}
	if err := ValidateHash(b.Hash); err != nil {
		bad("balancing: %w", err)
	}
	if s := b.SlowStart; s.Window < 0 || s.Window > maxSlowStart {
		bad("balancing: slow start of %s is not between 0 and %s", s.Window, maxSlowStart)
	}
	if s := b.SlowStart; !(s.Aggression >= 0 && s.Aggression <= 100) { // NaN too
		bad("balancing: slow start: aggression %v is not between 0 and 100", s.Aggression)
	}
	if s := b.SlowStart; !(s.MinPercent >= 0 && s.MinPercent <= 100) {
		bad("balancing: slow start: %v %% of the weight are not between 0 and 100", s.MinPercent)
	}
	if b.Panic < 0 || b.Panic > 100 {
		bad("balancing: a panic threshold of %d %% is not between 0 and 100", b.Panic)
	}
	if b.ZoneEndpoints < 0 {
		bad("balancing: %d endpoints for zones are too few", b.ZoneEndpoints)
	}
	return append(errs, validateTraits(c.Endpoints, c.Traits)...)
}

// ValidateHash reports every mistake of a list of keys.
func ValidateHash(keys []HashKey) error {
	var errs []error
	if len(keys) > maxHashKeys {
		errs = append(errs, fmt.Errorf("%d hash keys are more than %d", len(keys), maxHashKeys))
	}
	for i, k := range keys {
		if (k.Header == "") != k.SourceIP {
			errs = append(errs, fmt.Errorf("hash key %d: it needs one of a header and the source IP", i))
		}
		if strings.HasPrefix(k.Header, ":") {
			errs = append(errs, fmt.Errorf("hash key %d: %q is no header", i, k.Header))
		}
	}
	return errors.Join(errs...)
}

func validateTraits(endpoints []netip.AddrPort, traits map[netip.AddrPort]Trait) []error {
	if len(traits) == 0 {
		return nil
	}
	var errs []error
	known := 0
	for _, e := range endpoints {
		t, ok := traits[e]
		if ok {
			known++
		}
		if t.Weight > MaxWeight {
			errs = append(errs, fmt.Errorf("endpoint %s: weight %d is more than %d", address.String(e), t.Weight, MaxWeight))
		}
	}
	if known < len(traits) {
		errs = append(errs, fmt.Errorf("%d traits belong to no endpoint", len(traits)-known))
	}
	return errs
}

func prime(n int) bool {
	if n < 2 {
		return false
	}
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}
