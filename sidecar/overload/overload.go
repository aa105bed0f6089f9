// Package overload keeps a sidecar from going under: it looks at what the process is short of, and says what is to be left
// out for that. What it decides is pure; reading is in read_linux.go.
package overload

import (
	"errors"
	"fmt"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// Resource is what a process may be short of.
type Resource uint8

// Resources.
const (
	Memory      Resource = iota // that cannot be given back, of what the container or the configuration allows
	Descriptors                 // of RLIMIT_NOFILE
	CPU                         // of the busiest event loop's time
	resources
)

// String is the resource's label in metrics.
func (r Resource) String() string { return [resources]string{"memory", "descriptors", "cpu"}[r] }

// Resources lists all of them.
func Resources() []Resource { return []Resource{Memory, Descriptors, CPU} }

// State is how far things are with one resource. Each does what those below it do, and more.
type State uint8

// States.
const (
	Calm        State = iota
	CloseIdle         // connections without a request are closed
	Refuse            // new clients are refused
	ShedLow           // requests of low priority are answered with an error
	ShedDefault       // those of the default priority as well
	ShedHigh          // all requests
	states
)

// String is the state's name in logs.
func (s State) String() string {
	return [states]string{"calm", "close idle", "refuse", "shed low", "shed default", "shed high"}[s]
}

// Steps says at which part of a resource, from 0 to 1, each state begins; 0 never. What is Calm has no beginning.
type Steps [states]float64

// Config of a Manager.
type Config struct {
	// Interval between two looks while all is well, DefaultInterval for 0; it is a quarter when something is short, or nearly.
	Interval time.Duration
	Steps    [resources]Steps
}

// DefaultInterval between two looks.
const DefaultInterval = time.Second

// Defaults are steps that no sidecar reaches which is only busy. Of memory they are below where the runtime collects garbage
// without pause; a full loop is not an overloaded one, so that of CPU only what asks for it is left out.
func Defaults() [resources]Steps {
	return [resources]Steps{
		Memory:      {CloseIdle: 0.70, Refuse: 0.80, ShedLow: 0.82, ShedDefault: 0.88},
		Descriptors: {CloseIdle: 0.80, Refuse: 0.90, ShedLow: 0.95},
		CPU:         {ShedLow: 0.98},
	}
}

// Validate reports every mistake.
func (c *Config) Validate() error {
	var errs []error
	if c.Interval < 0 || c.Interval > 0 && c.Interval < minInterval || c.Interval > time.Minute {
		errs = append(errs, fmt.Errorf("an interval of %s is not between %s and 1m", c.Interval, minInterval))
	}
	for r, steps := range c.Steps {
		last := 0.0
		for s, at := range steps {
			switch {
			case at < 0 || at > 1:
				errs = append(errs, fmt.Errorf("%s: %q begins at %v, which is not between 0 and 1", Resource(r), State(s), at))
			case at != 0 && at < last:
				errs = append(errs, fmt.Errorf("%s: %q begins at %v, below what comes before it: lower that, too, or set it to 0", Resource(r), State(s), at))
			}
			last = max(last, at)
		}
	}
	return errors.Join(errs...)
}

const (
	minInterval = 20 * time.Millisecond
	// gap is how far a resource has to be below where a state begins for that to end.
	gap = 0.05
	// calmFor is for how long, and settleFor how long after a handover nothing is done about its cost: two processes that share
	// a container, and memory that nobody has collected yet.
	calmFor   = 2 * time.Second
	settleFor = 5 * time.Second
	// cpuMemory is how long a full loop takes to look so: what is that old weighs 1/e of what is new.
	cpuMemory = 3 * time.Second
	// near is how far below the first state a resource is looked at more often.
	near = 0.15
)

// Reading is how much of a resource is used, in any unit, and how much there is; 0 when nobody knows.
type Reading struct{ Used, Limit float64 }

// Actions are what is to be done now.
type Actions struct {
	CloseIdle bool
	Refuse    bool
	// Least is the lowest priority that is still served; above PriorityHigh for none.
	Least config.Priority
}

// Everything is served.
func Everything() Actions { return Actions{Least: config.PriorityLow} }

// Change of a state.
type Change struct {
	Resource Resource
	From, To State
	Part     float64 // of the resource, in use
}

// Verdict of one look.
type Verdict struct {
	Actions Actions
	State   [resources]State
	Part    [resources]float64
	Changes []Change
	Next    time.Duration // until the next look
}

// Manager is the decision. It does no I/O and reads no clock.
type Manager struct {
	cfg     Config
	all     [resources]standing
	looked  time.Duration
	held    bool
	settled time.Duration // when a handover's cost is over
}

type standing struct {
	state State
	part  float64
	calm  time.Duration // since when a lower state would do; 0 while none would
}

// New makes a manager to whom all is calm.
func New(cfg Config) *Manager {
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	return &Manager{cfg: cfg}
}

// Look takes what was read at now, which is above 0. handing says that a handover goes on, to or from this process: then and shortly after it
// nothing gets worse, however much it costs, and no connection is closed.
func (m *Manager) Look(now time.Duration, read [resources]Reading, handing bool) Verdict {
	if handing {
		m.settled = now + settleFor
	}
	m.held = handing || now < m.settled
	v := Verdict{Actions: Everything(), Next: m.cfg.Interval}
	for r := range m.all {
		s, steps := &m.all[r], &m.cfg.Steps[r]
		s.part = m.part(Resource(r), read[r], now)
		if to := m.step(s, steps, now); to != s.state {
			v.Changes = append(v.Changes, Change{Resource: Resource(r), From: s.state, To: to, Part: s.part})
			s.state = to
		}
		v.State[r], v.Part[r] = s.state, s.part
		v.Actions.add(s.state, Resource(r))
		if first := steps.First(); s.state > Calm || first > 0 && s.part > first-near {
			v.Next = max(m.cfg.Interval/4, minInterval)
		}
	}
	v.Actions.CloseIdle = v.Actions.CloseIdle && !handing
	m.looked = now
	return v
}

// part of a resource that is used. That of CPU comes and goes with every burst: it is the mean of some time.
func (m *Manager) part(r Resource, read Reading, now time.Duration) float64 {
	if read.Limit <= 0 {
		return 0
	}
	part := read.Used / read.Limit
	if r != CPU {
		return part
	}
	weight := min(float64(now-m.looked)/float64(cpuMemory), 1)
	return m.all[r].part + (min(part, 1)-m.all[r].part)*weight
}

// step says which state comes next. It gets worse at once, and better one by one.
func (m *Manager) step(s *standing, steps *Steps, now time.Duration) State {
	to := steps.at(s.part)
	if to > s.state && !m.held {
		s.calm = 0
		return to
	}
	if s.state == Calm || steps.at(s.part+gap) >= s.state {
		s.calm = 0
		return s.state
	}
	if s.calm == 0 {
		s.calm = now
	}
	if now-s.calm < calmFor {
		return s.state
	}
	s.calm = now
	return steps.below(s.state)
}

// at is the state of a part.
func (s *Steps) at(part float64) State {
	for to := ShedHigh; to > Calm; to-- {
		if s[to] > 0 && part >= s[to] {
			return to
		}
	}
	return Calm
}

// below is the next better state that there is.
func (s *Steps) below(from State) State {
	for to := from - 1; to > Calm; to-- {
		if s[to] > 0 {
			return to
		}
	}
	return Calm
}

// First is where the first state begins; 0 when there is none.
func (s *Steps) First() float64 {
	for _, at := range s {
		if at > 0 {
			return at
		}
	}
	return 0
}

// add does what a state asks for. To close or to refuse connections frees no CPU: whoever is turned away comes again.
func (a *Actions) add(s State, r Resource) {
	a.CloseIdle = a.CloseIdle || s >= CloseIdle && r != CPU
	a.Refuse = a.Refuse || s >= Refuse && r != CPU
	if s >= ShedLow {
		a.Least = max(a.Least, config.PriorityLow+config.Priority(s-ShedLow)+1)
	}
}
