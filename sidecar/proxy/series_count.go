package proxy

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// Flag says what was wrong with a request that has ended: a Failure, or something that is not ours to answer.
type Flag uint8

// Flags, besides those of failures.
const (
	FlagNone       Flag = 0
	FlagClientGone Flag = iota + Flag(failures) // the client has left before the end of the answer
	FlagMalformed                               // what the client sent cannot be read
	FlagSlow                                    // somebody has not read for too long
	flags
)

// FlagOf is the flag of a failure.
func FlagOf(f Failure) Flag { return Flag(f) + 1 }

// String is the flag's label in metrics. What only a later build flags is Other.
func (f Flag) String() string {
	switch f {
	case FlagNone:
		return None
	case FlagClientGone:
		return "client_gone"
	case FlagMalformed:
		return "malformed"
	case FlagSlow:
		return "slow"
	}
	if f >= flags {
		return Other
	}
	return Failure(f - 1).String()
}

// Flags lists all of them.
func Flags() []Flag {
	var all []Flag
	for f := range flags {
		all = append(all, f)
	}
	return all
}

// MarshalText writes a label, which is the same for every build.
func (f Flag) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what MarshalText has written; there may be flags that only a later build knows.
func (f *Flag) UnmarshalText(b []byte) error {
	*f = flagNamed(string(b))
	return nil
}

func flagNamed(name string) Flag {
	f := FlagNone
	for f < flags && f.String() != name {
		f++
	}
	return f
}

// LatencyBounds are the upper bounds of the buckets of Latency.
var LatencyBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second,
	5 * time.Second, 15 * time.Second,
}

// Latency counts how many have taken up to each of LatencyBounds, and not up to the one before; the others are in no bucket.
type Latency [len(LatencyBounds)]uint64

func (l *Latency) add(took time.Duration) {
	for i, bound := range LatencyBounds {
		if took <= bound {
			l[i]++
			return
		}
	}
}

// CodeCount is how often a series has ended one way.
type CodeCount struct {
	Code Code
	Flag Flag
	N    uint64
}

// SeriesCount is what became of the requests of a series that have ended.
type SeriesCount struct {
	Codes   []CodeCount `json:",omitempty"`
	Latency Latency
	Total   time.Duration
}

// Ended is how many there were.
func (c *SeriesCount) Ended() (n uint64) {
	for _, one := range c.Codes {
		n += one.N
	}
	return n
}

// at is where an end is counted; it is made when add is true.
func (c *SeriesCount) at(code Code, flag Flag, add bool) *uint64 {
	for i := range c.Codes {
		if one := &c.Codes[i]; one.Code == code && one.Flag == flag {
			return &one.N
		}
	}
	if !add {
		return nil
	}
	c.Codes = append(c.Codes, CodeCount{Code: code, Flag: flag})
	return &c.Codes[len(c.Codes)-1].N
}

// plus is both together.
func (c SeriesCount) plus(more SeriesCount) SeriesCount {
	c.Codes = slices.Clone(c.Codes)
	for _, one := range more.Codes {
		*c.at(one.Code, one.Flag, true) += one.N
	}
	for i := range c.Latency {
		c.Latency[i] += more.Latency[i]
	}
	c.Total += more.Total
	return c
}

// seriesCounts are added up like counters. What is in them is shared by copies: nothing changes it in place.
type seriesCounts map[SeriesName]SeriesCount

// UnmarshalJSON adds up what this build has one name for: a later one may tell it apart.
func (all *seriesCounts) UnmarshalJSON(b []byte) error {
	var written map[string]SeriesCount
	if err := json.Unmarshal(b, &written); err != nil {
		return err
	}
	*all = make(seriesCounts, len(written))
	for text, c := range written {
		var name SeriesName
		if err := name.UnmarshalText([]byte(text)); err != nil {
			return err
		}
		(*all)[name] = (*all)[name].plus(c)
	}
	return nil
}

func (all seriesCounts) add(o seriesCounts) seriesCounts {
	if len(o) == 0 {
		return all
	}
	sum := maps.Clone(all)
	if sum == nil {
		sum = seriesCounts{}
	}
	for name, more := range o {
		sum[name] = sum[name].plus(more)
	}
	return sum
}

// sub takes away an earlier reading. What has not changed since is not in the result.
func (all seriesCounts) sub(o seriesCounts) seriesCounts {
	rest := seriesCounts{}
	for name, c := range all {
		old := o[name]
		c.Codes = slices.Clone(c.Codes)
		for _, one := range old.Codes {
			if n := c.at(one.Code, one.Flag, false); n != nil {
				*n -= min(one.N, *n)
			}
		}
		c.Codes = slices.DeleteFunc(c.Codes, func(one CodeCount) bool { return one.N == 0 })
		for i := range c.Latency {
			c.Latency[i] -= min(old.Latency[i], c.Latency[i])
		}
		if c.Total -= min(old.Total, c.Total); len(c.Codes) > 0 {
			rest[name] = c
		}
	}
	return rest
}
