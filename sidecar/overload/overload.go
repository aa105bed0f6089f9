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
	// calmFor is how long that has to last. It doubles, up to mostCalm, when a state comes back soon after it has ended: what was
	// shed has not gone away.
	calmFor  = 2 * time.Second
	mostCalm = 16 * time.Second
	// settleFor is how long after a handover nothing is done about its cost: two processes that share a container, and memory
	// that nobody has collected yet.
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
	// Easing is the part of the requests of priority Least, from 0 to 1, that are left out all the same: what was shed comes
	// back bit by bit, or all of it would be here again before anybody had looked.
	Easing float64
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
	wait  time.Duration // as calmFor
	ended time.Duration // when it got better last, from
	from  State
}

// New makes a manager to whom all is calm.
func New(cfg Config) *Manager {
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	return &Manager{cfg: cfg}
}

// Interval between two looks while all is well.
func (m *Manager) Interval() time.Duration { return m.cfg.Interval }

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
		v.Actions.add(s.state, steps, Resource(r))
		v.Actions.ease(s, now)
		if first := steps.First(); s.state > Calm || first > 0 && s.part > first-near {
			v.Next = max(m.cfg.Interval/4, minInterval)
		}
	}
	v.Actions.CloseIdle = v.Actions.CloseIdle && !handing
	if v.Actions.Easing > 0 {
		v.Next = max(m.cfg.Interval/4, minInterval)
	}
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
		switch {
		case s.wait == 0 || now-s.ended > 2*mostCalm:
			s.wait = calmFor
		case s.ended > 0 && now-s.ended < s.wait:
			s.wait = min(2*s.wait, mostCalm)
		}
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
	if now-s.calm < s.wait {
		return s.state
	}
	s.calm, s.ended, s.from = now, now, s.state
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

// add does what a state asks for, but for what is to be done never. To close or to refuse connections frees no CPU: whoever is
// turned away comes again.
func (a *Actions) add(s State, steps *Steps, r Resource) {
	does := func(step State) bool { return s >= step && steps[step] > 0 }
	a.CloseIdle = a.CloseIdle || does(CloseIdle) && r != CPU
	a.Refuse = a.Refuse || does(Refuse) && r != CPU
	if s < ShedLow {
		return
	}
	if least := config.PriorityLow + config.Priority(s-ShedLow) + 1; least > a.Least {
		a.Least, a.Easing = least, 0
	}
}

// ease leaves out a part of what a resource had shed until a moment ago; less and less of it.
func (a *Actions) ease(s *standing, now time.Duration) {
	if s.ended == 0 || s.from < ShedLow || s.state >= s.from || now-s.ended >= s.wait {
		return
	}
	least, left := config.PriorityLow, 1-float64(now-s.ended)/float64(s.wait)
	if s.state >= ShedLow {
		least += config.Priority(s.state-ShedLow) + 1
	}
	switch {
	case least > a.Least:
		a.Least, a.Easing = least, left
	case least == a.Least:
		a.Easing = max(a.Easing, left)
	}
}
