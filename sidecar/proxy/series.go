package proxy

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/route"
)

// Requests are counted when they end, by what they were: which way, in which protocol, for whom, by which route; and by how
// they ended: with which status, and what was wrong. What was chosen by a configuration is bounded by maxRouteCounts, what an
// endpoint says by maxCodes. A loop counts for itself: no lock, and nothing is allocated but for what has not been seen before.

// Spoken is a protocol, as those tell them apart who look at requests.
type Spoken uint8

// Protocols. A call of gRPC is HTTP/2 with a status of its own.
const (
	SpokenTCP Spoken = iota
	SpokenBolt
	SpokenDubbo
	SpokenHTTP1
	SpokenHTTP2
	SpokenGRPC
	spokens
)

// String is the protocol's label in metrics. What only a later build speaks is Other.
func (s Spoken) String() string {
	if s >= spokens {
		return Other
	}
	return [spokens]string{"tcp", "bolt", "dubbo", "http1", "http2", "grpc"}[s]
}

func spokenNamed(name string) Spoken {
	s := SpokenTCP
	for s < spokens && s.String() != name {
		s++
	}
	return s
}

// rpcSpoken is what a connection speaks that multiplexes.
func rpcSpoken(p config.Protocol) Spoken {
	if p == config.Dubbo {
		return SpokenDubbo
	}
	return SpokenBolt
}

// scope is a direction and a protocol.
type scope uint8

const scopes = scope(2 * spokens)

func scopeOf(d config.Direction, s Spoken) scope { return scope(d)*scope(spokens) + scope(s) }

// Code is the status of an answer in the words of its protocol: HTTP's status, that of gRPC, Bolt or Dubbo. The zero value is
// none.
type Code uint16

// codeOther stands for the statuses of a series that are too many.
const codeOther = Code(1<<16 - 1)

// CodeOf makes a Code of a status; one that no protocol has is none.
func CodeOf(status int) Code {
	if status < 0 || status >= int(codeOther)-1 {
		return 0
	}
	return Code(status + 1)
}

// String is the code's label in metrics.
func (c Code) String() string {
	switch c {
	case 0:
		return "-"
	case codeOther:
		return Other
	}
	return strconv.Itoa(int(c) - 1)
}

// Status is what CodeOf was given; -1 for none.
func (c Code) Status() int { return int(c) - 1 }

// MarshalText writes a label, which is the same for every build.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText has written.
func (c *Code) UnmarshalText(b []byte) error {
	switch text := string(b); text {
	case "-":
		*c = 0
	case Other:
		*c = codeOther
	default:
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || CodeOf(n) == 0 {
			return errors.New("a status is no number: " + strconv.Quote(text))
		}
		*c = CodeOf(n)
	}
	return nil
}

// Bounds of what is counted by itself.
const (
	// maxRouteCounts are the routes of one process that are: those whose names come first. All others are OtherRoutes.
	maxRouteCounts = 200
	// maxCodes are the pairs of code and flag of one series that are; all others have codeOther.
	maxCodes = 24
)

// Other is the label of what is beyond a bound, None the label of what is not there.
const (
	Other = "(other)"
	None  = "-"
)

// OtherRoutes is what the routes beyond the bound are counted as, NoRoute what no route has taken.
var (
	OtherRoutes = RouteName{Host: Other, Route: Other}
	NoRoute     = RouteName{Host: None, Route: None}
)

// RouteName names a route for people. Routes of one name are counted together. What a listener sends to one cluster has that
// for a host, and no route.
type RouteName struct{ Host, Route string }

func nameOf(r *route.Route) RouteName { return RouteName{r.Host, r.Name} }

func straightName(cluster string) RouteName { return RouteName{cluster, None} }

// SeriesName is all of what a request was.
type SeriesName struct {
	Direction config.Direction
	Protocol  Spoken
	RouteName
}

// nameBreak separates the parts of a written SeriesName; it is in no service key.
const nameBreak = "\n"

// MarshalText makes a SeriesName a key of a JSON object.
func (n SeriesName) MarshalText() ([]byte, error) {
	return []byte(strings.Join([]string{n.Direction.String(), n.Protocol.String(), n.Host, n.Route}, nameBreak)), nil
}

// UnmarshalText reads what MarshalText has written.
func (n *SeriesName) UnmarshalText(b []byte) error {
	parts := bytes.SplitN(b, []byte(nameBreak), 4)
	if len(parts) < 4 {
		return errors.New("a series' name has less than four parts")
	}
	n.Direction, n.Protocol = config.Inbound, spokenNamed(string(parts[1]))
	if string(parts[0]) == config.Outbound.String() {
		n.Direction = config.Outbound
	}
	n.Host, n.Route = string(parts[2]), string(parts[3])
	return nil
}

// tallies are what one loop counts of a route; nil where nothing was.
type tallies struct {
	name RouteName
	by   [scopes]*tally
}

// at is the tally of a direction and a protocol.
func (t *tallies) at(d config.Direction, s Spoken) *tally {
	if one := t.by[scopeOf(d, s)]; one != nil {
		return one
	}
	return t.first(d, s)
}

// first makes the tally of a direction and a protocol that no request has had yet.
func (t *tallies) first(d config.Direction, s Spoken) *tally {
	one := &tally{name: SeriesName{d, s, t.name}}
	t.by[scopeOf(d, s)] = one
	return one
}

// recount makes tallies for each route of a table and for each cluster that a listener sends everything to; those that are
// there already are kept.
func (w *worker) recount(routes *route.Table, straight []string) {
	var names []RouteName
	for _, cluster := range straight {
		names = append(names, straightName(cluster))
	}
	routes.Each(func(r *route.Route) { names = append(names, nameOf(r)) })
	slices.SortFunc(names, func(a, b RouteName) int {
		if by := strings.Compare(a.Host, b.Host); by != 0 {
			return by
		}
		return strings.Compare(a.Route, b.Route)
	})
	names = slices.Compact(names)
	known := w.tallies
	w.tallies = make(map[RouteName]*tallies, len(names)+2)
	keep := func(name RouteName) *tallies {
		t := known[name]
		if t == nil || name != OtherRoutes && t == known[OtherRoutes] {
			t = &tallies{name: name}
		}
		w.tallies[name] = t
		return t
	}
	keep(NoRoute)
	other := keep(OtherRoutes)
	for i, name := range names {
		if i < maxRouteCounts {
			keep(name)
		} else {
			w.tallies[name] = other
		}
	}
	for _, c := range w.clusters {
		c.straight = nil
	}
}

// straightTallies are those of what a listener sends to c.
func (w *worker) straightTallies(c *cluster) *tallies {
	if c.straight == nil {
		if c.straight = w.tallies[straightName(c.name)]; c.straight == nil {
			c.straight = w.tallies[OtherRoutes] // of a listener that an earlier process had
		}
	}
	return c.straight
}

// countSeries adds what this loop has counted.
func (w *worker) countSeries(s *Stats) {
	mine, other := seriesCounts{}, w.tallies[OtherRoutes]
	for name, t := range w.tallies {
		if t == other && name != OtherRoutes {
			continue
		}
		for _, one := range t.by {
			if one == nil {
				continue
			}
			c := SeriesCount{Codes: slices.Clone(one.codes), Latency: one.latency, Total: one.total}
			mine[one.name] = c
		}
	}
	s.Series = s.Series.add(mine)
}

// forgotten drops what was counted for routes that no configuration names any more.
func (w *worker) forgotten(all seriesCounts) {
	maps.DeleteFunc(all, func(name SeriesName, _ SeriesCount) bool { return w.tallies[name.RouteName] == nil })
}

// tally is one series of one loop.
type tally struct {
	name    SeriesName
	codes   []CodeCount
	latency Latency
	total   time.Duration
}

// add counts a request that took so long.
func (t *tally) add(code Code, flag Flag, took time.Duration) {
	t.total += took
	t.latency.add(took)
	for i := range t.codes {
		if c := &t.codes[i]; c.Code == code && c.Flag == flag {
			c.N++
			return
		}
	}
	if len(t.codes) >= maxCodes && code != codeOther {
		t.other(flag)
		return
	}
	t.codes = append(t.codes, CodeCount{code, flag, 1})
}

func (t *tally) other(flag Flag) {
	for i := range t.codes {
		if c := &t.codes[i]; c.Code == codeOther && c.Flag == flag {
			c.N++
			return
		}
	}
	t.codes = append(t.codes, CodeCount{codeOther, flag, 1})
}
