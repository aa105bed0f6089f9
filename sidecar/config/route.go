package config

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"
)

// Host is the routing table of one service.
type Host struct {
	Name   string
	Routes []Route
}

// Route is tried in order; the first that matches wins. Exactly one of Cluster, Split, Status and Redirect says what becomes
// of a request.
type Route struct {
	Name string
	// Matches must all hold; none takes every request.
	Matches []Match
	// Cluster that takes the request.
	Cluster string
	// Split takes the request with one of several clusters, by weight. A cluster may be there more than once.
	Split []Share
	// Status answers the request here: an HTTP status; for Bolt it means that there is no processor, for Dubbo no service.
	Status int
	// Mirror copies some of the requests; nil copies none.
	Mirror *Mirror
	// Timeout of the whole request, its answer's last byte included; 0 leaves the request's own, which may be none.
	Timeout time.Duration
	// Attempts at a request, the first included, up to MaxAttempts; 0 means DefaultAttempts.
	Attempts int
	// Hash is what a cluster that balances by hash looks at; none leaves that to the cluster.
	Hash []HashKey
	// Retry says when a request is sent again; nil only when it has reached no endpoint.
	Retry *Retry
	// Sticky names a header: requests with the same value of it go to the same cluster of the Split as long as that stays as it
	// is. Empty, and for requests without the header, the weights alone decide.
	Sticky string
	// Fault spoils some requests; nil none.
	Fault *Fault
	// Limit of the requests that this process takes.
	Limit Limit
	// Edit changes HTTP messages; nil nothing.
	Edit *Edit
	// Redirect answers an HTTP request with another address. Another protocol's is answered as by Status.
	Redirect *Redirect
	// Priority of the requests. PriorityHeader names a header that may lower it, and never raises it; empty names none.
	Priority       Priority
	PriorityHeader string
}

// Forgotten is how long, at least, a request without a timeout is remembered: a Bolt request that is not answered, or an HTTP
// exchange of which not one byte moves, for at most twice as long. How long an application may take is its own affair, and its callers'.
const Forgotten = time.Hour

// How often a request is tried, in all: DefaultAttempts where nothing says otherwise, and then only as long as it has
// reached no endpoint.
const (
	DefaultAttempts = 3
	MaxAttempts     = 10
)

// Share is one cluster's part of a Route: its weight of the sum of all weights.
type Share struct {
	Cluster string
	Weight  uint32
}

// Mirror sends copies of Numerator in Denominator requests to another cluster, whose answers are dropped.
type Mirror struct {
	Cluster                string
	Numerator, Denominator uint32
}

// Names that a Match has for what is no header. No header's name begins with a colon.
const (
	MatchMethod = ":method" // Bolt: the header sofa_head_method_name; Dubbo: the method; HTTP: the request's method; SOAP: the operation
	MatchPath   = ":path"   // HTTP: the path without the query; other protocols have none
	// QueryPrefix and the name of a parameter of HTTP's query: the first one's value, as the client has encoded it.
	QueryPrefix = "?"
)

// MatchKind says how a Match compares.
type MatchKind uint8

// Kinds of a Match.
const (
	MatchPresent MatchKind = iota
	MatchExact
	MatchPrefix
	MatchRegex
	MatchSuffix
	MatchContains
	MatchRange
	MatchSegments // by the parts of a path between slashes: /a is how /a and /a/b begin, and not /ab
)

// Match is a condition on the method, the path, the query or a header of a request. What a request does not have never
// matches, but for the inverse of MatchPresent.
type Match struct {
	// Name is MatchMethod, MatchPath, a parameter's behind QueryPrefix or a header's: in lower case for HTTP, exactly as the
	// client sends it for Bolt and Dubbo.
	Name string
	Kind MatchKind
	// Value is nothing for MatchPresent and MatchRange; for MatchRegex it is in RE2's syntax and has to match all of the
	// request's value.
	Value string
	// From and To bound a MatchRange, a decimal integer: From is in it, To is not.
	From, To int64
	// Invert makes it match what has a value that does not.
	Invert bool
}

// Bounds of a regular expression: what it takes to match one value is at most their product.
const (
	maxPattern = 1 << 10
	maxProgram = 500 // instructions, after counted repetitions are written out
	// MaxRegexValue is the longest value that is matched; a longer one does not match.
	MaxRegexValue = 4 << 10
)

// Regexp compiles the Value of a MatchRegex, anchored at both ends.
func (m Match) Regexp() (*regexp.Regexp, error) {
	if len(m.Value) > maxPattern {
		return nil, fmt.Errorf("the expression has %d bytes, more than %d", len(m.Value), maxPattern)
	}
	if _, err := syntax.Parse(m.Value, syntax.Perl); err != nil { // alone: it must not close the group that is put around it
		return nil, err
	}
	anchored := `\A(?:` + m.Value + `)\z`
	parsed, err := syntax.Parse(anchored, syntax.Perl)
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	if n := len(prog.Inst); n > maxProgram {
		return nil, fmt.Errorf("the expression compiles to %d instructions, more than %d", n, maxProgram)
	}
	return regexp.Compile(anchored)
}

// Validate reports every mistake of m.
func (m Match) Validate() error {
	var errs []error
	switch {
	case m.Name == "" || m.Name == QueryPrefix:
		errs = append(errs, errors.New("it names no header"))
	case m.Name[0] == ':' && m.Name != MatchMethod && m.Name != MatchPath:
		errs = append(errs, fmt.Errorf("name %q is none of %s, %s and a header's", m.Name, MatchMethod, MatchPath))
	}
	switch m.Kind {
	case MatchPresent:
		if m.Value != "" {
			errs = append(errs, fmt.Errorf("present compares with no value, such as %q", m.Value))
		}
	case MatchExact:
	case MatchPrefix, MatchSegments:
		if m.Value == "" {
			errs = append(errs, errors.New("an empty prefix is what present is for"))
		}
	case MatchSuffix, MatchContains:
		if m.Value == "" {
			errs = append(errs, errors.New("an empty suffix or part is what present is for"))
		}
	case MatchRange:
		if m.From >= m.To || m.Value != "" {
			errs = append(errs, fmt.Errorf("the range from %d to %d, which is not in it, is empty, or it has a value, too", m.From, m.To))
		}
	case MatchRegex:
		if _, err := m.Regexp(); err != nil {
			errs = append(errs, fmt.Errorf("regex %q: %w", m.Value, err))
		}
	default:
		errs = append(errs, fmt.Errorf("unknown kind %d", m.Kind))
	}
	return errors.Join(errs...)
}

// HTTP statuses that a Route may answer with: final ones.
const (
	minStatus = 200
	maxStatus = 599
)

func (h *Host) validate(key string, clusters map[string]*Cluster) []error {
	if h == nil {
		return []error{fmt.Errorf("host %q: it is nil", key)}
	}
	var errs []error
	if h.Name != key {
		errs = append(errs, fmt.Errorf("host %q: its own name is %q", key, h.Name))
	}
	if len(h.Routes) == 0 {
		errs = append(errs, fmt.Errorf("host %q: it has no routes", key))
	}
	for i, r := range h.Routes {
		for _, err := range r.validate(clusters) {
			errs = append(errs, fmt.Errorf("host %q: route %d: %w", key, i, err))
		}
	}
	return errs
}

func (r *Route) validate(clusters map[string]*Cluster) []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for i, m := range r.Matches {
		if err := m.Validate(); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				bad("match %d: %s", i, line)
			}
		}
	}
	actions := 0
	if r.Cluster != "" {
		actions++
		if clusters[r.Cluster] == nil {
			bad("there is no cluster %q", r.Cluster)
		}
	}
	if len(r.Split) > 0 {
		actions++
		errs = append(errs, validateSplit(r.Split, clusters)...)
	}
	if r.Status != 0 {
		actions++
		if r.Status < minStatus || r.Status > maxStatus {
			bad("status %d is not between %d and %d", r.Status, minStatus, maxStatus)
		}
	}
	if r.Redirect != nil {
		actions++
	}
	if actions != 1 {
		bad("it needs one of a cluster, a split, a status and a redirect, and has %d", actions)
	}
	errs = append(errs, r.ValidateActions()...)
	if m := r.Mirror; m != nil {
		if clusters[m.Cluster] == nil {
			bad("mirror: there is no cluster %q", m.Cluster)
		}
		if m.Denominator == 0 || m.Numerator > m.Denominator {
			bad("mirror: %d in %d is no fraction up to 1", m.Numerator, m.Denominator)
		}
	}
	if r.Timeout < 0 {
		bad("timeout %s is negative", r.Timeout)
	}
	if r.Attempts < 0 || r.Attempts > MaxAttempts {
		bad("%d attempts are not between 1 and %d", r.Attempts, MaxAttempts)
	}
	if err := ValidateHash(r.Hash); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// maxTotal bounds the sum of weights, as Envoy does.
const maxTotal = 1<<32 - 1

func validateSplit(split []Share, clusters map[string]*Cluster) []error {
	var errs []error
	total := uint64(0)
	for i, s := range split {
		total += uint64(s.Weight)
		if clusters[s.Cluster] == nil {
			errs = append(errs, fmt.Errorf("split %d: there is no cluster %q", i, s.Cluster))
		}
	}
	if total < 1 || total > maxTotal {
		errs = append(errs, fmt.Errorf("split: the weights add up to %d, which is not between 1 and %d", total, uint64(maxTotal)))
	}
	return errs
}
