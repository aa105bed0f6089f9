package overload_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/overload"
)

// look is one reading of memory, in percent, and the state that follows.
type look struct {
	at      time.Duration
	percent float64
	handing bool
	want    overload.State
}

const second = time.Second

func TestStates(t *testing.T) {
	cases := map[string][]look{
		"it gets worse at once, over several steps": {
			{1 * second, 50, false, overload.Calm}, {2 * second, 89, false, overload.ShedDefault},
		},
		"it gets better step by step, each after a while": {
			{1 * second, 83, false, overload.ShedLow}, {2 * second, 20, false, overload.ShedLow}, {3 * second, 20, false, overload.ShedLow},
			{4 * second, 20, false, overload.Refuse}, {5 * second, 20, false, overload.Refuse}, {6 * second, 20, false, overload.CloseIdle},
			{8 * second, 20, false, overload.Calm},
		},
		"just below a step is not below it": {
			{1 * second, 71, false, overload.CloseIdle}, {2 * second, 66, false, overload.CloseIdle}, {9 * second, 66, false, overload.CloseIdle},
			{10 * second, 64, false, overload.CloseIdle}, {12 * second, 64, false, overload.Calm},
		},
		"a moment of calm is not calm": {
			{1 * second, 71, false, overload.CloseIdle}, {2 * second, 20, false, overload.CloseIdle}, {3 * second, 71, false, overload.CloseIdle},
			{4 * second, 20, false, overload.CloseIdle}, {5 * second, 20, false, overload.CloseIdle}, {6 * second, 20, false, overload.Calm},
		},
		"the cost of a handover is nothing to act on": {
			{1 * second, 50, false, overload.Calm}, {2 * second, 99, true, overload.Calm}, {3 * second, 99, false, overload.Calm},
			{6 * second, 99, false, overload.Calm}, {7 * second, 99, false, overload.ShedDefault},
		},
		"what was shed before a handover still is, and what gets better does so": {
			{1 * second, 83, false, overload.ShedLow}, {2 * second, 99, true, overload.ShedLow}, {3 * second, 20, true, overload.ShedLow},
			{5 * second, 20, true, overload.Refuse},
		},
		"what comes back at once is shed for longer": {
			{1 * second, 83, false, overload.ShedLow}, {2 * second, 20, false, overload.ShedLow}, {4 * second, 20, false, overload.Refuse},
			{5 * second, 83, false, overload.ShedLow}, {6 * second, 20, false, overload.ShedLow}, {8 * second, 20, false, overload.ShedLow},
			{10 * second, 20, false, overload.Refuse}, {11 * second, 83, false, overload.ShedLow}, {12 * second, 20, false, overload.ShedLow},
			{19 * second, 20, false, overload.ShedLow}, {20 * second, 20, false, overload.Refuse}, {28 * second, 20, false, overload.CloseIdle},
			{36 * second, 20, false, overload.Calm}, {80 * second, 83, false, overload.ShedLow}, {81 * second, 20, false, overload.ShedLow},
			{83 * second, 20, false, overload.Refuse},
		},
		"what nobody knows is no reason": {{1 * second, -1, false, overload.Calm}},
	}
	for name, looks := range cases {
		t.Run(name, func(t *testing.T) {
			m := overload.New(overload.Config{Steps: overload.Defaults()})
			for _, l := range looks {
				read := [3]overload.Reading{overload.Memory: {Used: l.percent, Limit: 100}}
				if l.percent < 0 {
					read = [3]overload.Reading{}
				}
				v := m.Look(l.at, read, l.handing)
				if v.State[overload.Memory] != l.want {
					t.Errorf("at %s with %v %%: %s, want %s", l.at, l.percent, v.State[overload.Memory], l.want)
				}
				if l.handing && v.Actions.CloseIdle {
					t.Errorf("at %s a connection would be closed while a handover goes on", l.at)
				}
			}
		})
	}
}

func TestActions(t *testing.T) {
	all := overload.Steps{overload.CloseIdle: 0.1, overload.Refuse: 0.2, overload.ShedLow: 0.3, overload.ShedDefault: 0.4, overload.ShedHigh: 0.5}
	cases := map[string]struct {
		memory, cpu float64
		want        overload.Actions
	}{
		"calm":                          {0, 0, overload.Everything()},
		"close idle":                    {0.1, 0, overload.Actions{CloseIdle: true, Least: config.PriorityLow}},
		"refuse":                        {0.2, 0, overload.Actions{CloseIdle: true, Refuse: true, Least: config.PriorityLow}},
		"shed low":                      {0.3, 0, overload.Actions{CloseIdle: true, Refuse: true, Least: config.PriorityDefault}},
		"shed default":                  {0.4, 0, overload.Actions{CloseIdle: true, Refuse: true, Least: config.PriorityHigh}},
		"shed all":                      {0.5, 0, overload.Actions{CloseIdle: true, Refuse: true, Least: config.PriorityHigh + 1}},
		"CPU closes nothing":            {0, 0.3, overload.Actions{Least: config.PriorityDefault}},
		"the worse of two resources":    {0.1, 0.4, overload.Actions{CloseIdle: true, Least: config.PriorityHigh}},
		"a part of more than all of it": {7, 7, overload.Actions{CloseIdle: true, Refuse: true, Least: config.PriorityHigh + 1}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := overload.New(overload.Config{Steps: [3]overload.Steps{all, all, all}})
			v := m.Look(time.Minute, [3]overload.Reading{overload.Memory: {Used: tc.memory, Limit: 1}, overload.CPU: {Used: tc.cpu, Limit: 1}}, false)
			if diff := cmp.Diff(tc.want, v.Actions); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhatWasShedComesBackBitByBit within as long as it took to believe in the calm.
func TestWhatWasShedComesBackBitByBit(t *testing.T) {
	m := overload.New(overload.Config{Steps: [3]overload.Steps{overload.Memory: {overload.ShedLow: 0.5, overload.ShedDefault: 0.8}}})
	for _, l := range []struct {
		at   time.Duration
		part float64
		want overload.Actions
	}{
		{1 * second, 0.9, overload.Actions{Least: config.PriorityHigh}}, {2 * second, 0.6, overload.Actions{Least: config.PriorityHigh}},
		{4 * second, 0.6, overload.Actions{Least: config.PriorityDefault, Easing: 1}},
		{5 * second, 0.6, overload.Actions{Least: config.PriorityDefault, Easing: 0.5}},
		{6 * second, 0.6, overload.Actions{Least: config.PriorityDefault}}, {7 * second, 0.1, overload.Actions{Least: config.PriorityDefault}},
		{9 * second, 0.1, overload.Actions{Least: config.PriorityLow, Easing: 1}}, {10500 * time.Millisecond, 0.1, overload.Actions{Least: config.PriorityLow, Easing: 0.25}},
		{11 * second, 0.1, overload.Everything()}, {11 * second, 0.9, overload.Actions{Least: config.PriorityHigh}},
	} {
		v := m.Look(l.at, [3]overload.Reading{overload.Memory: {Used: l.part, Limit: 1}}, false)
		if diff := cmp.Diff(l.want, v.Actions); diff != "" {
			t.Errorf("at %s (-want +got):\n%s", l.at, diff)
		}
	}
}

// TestStepsThatNeverCome are left out when a later one is reached; who sheds a priority sheds those below it.
func TestStepsThatNeverCome(t *testing.T) {
	m := overload.New(overload.Config{Steps: [3]overload.Steps{overload.Memory: {overload.ShedDefault: 0.5}}})
	v := m.Look(time.Minute, [3]overload.Reading{overload.Memory: {Used: 1, Limit: 1}}, false)
	if diff := cmp.Diff(overload.Actions{Least: config.PriorityHigh}, v.Actions); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
}

// TestABusyLoopIsNoOverload for a moment; only when it stays so.
func TestABusyLoopIsNoOverload(t *testing.T) {
	m := overload.New(overload.Config{Steps: overload.Defaults()})
	at, state := time.Duration(0), overload.Calm
	look := func(busy float64) {
		at += 250 * time.Millisecond
		state = m.Look(at, [3]overload.Reading{overload.CPU: {Used: busy, Limit: 1}}, false).State[overload.CPU]
	}
	for range 20 {
		look(0.5)
	}
	for range 16 {
		if look(1); state != overload.Calm {
			t.Fatal("a burst of 4 s is taken for an overload")
		}
	}
	for range 80 {
		look(1)
	}
	if state != overload.ShedLow {
		t.Errorf("a loop that is full for 24 s is %s", state)
	}
}

// TestLooksProperties: a worse reading never leads to a better state at once, and without a handover the worst is acted on at once.
func TestLooksProperties(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := overload.New(overload.Config{Steps: overload.Defaults(), Interval: time.Second})
		at, last, handed := time.Duration(0), overload.Calm, time.Duration(-time.Hour)
		for range 500 {
			at += time.Duration(1 + r.Int64N(int64(time.Second)))
			part, handing := r.Float64()*1.2, r.IntN(20) == 0
			if handing {
				handed = at
			}
			v := m.Look(at, [3]overload.Reading{overload.Memory: {Used: part, Limit: 1}}, handing)
			now, steps := v.State[overload.Memory], overload.Defaults()[overload.Memory]
			switch {
			case now > last && at-handed < 5*time.Second:
				t.Fatalf("seed %d: it got worse in a handover, or right after it", seed)
			case part >= steps[overload.ShedDefault] && at-handed >= 5*time.Second && now != overload.ShedDefault:
				t.Fatalf("seed %d: at %v it is %s", seed, part, now)
			case now < last && steps[last] > 0 && part > steps[last]-0.05:
				t.Fatalf("seed %d: from %s to %s at %v", seed, last, now, part)
			case v.Next > time.Second || v.Next < 20*time.Millisecond:
				t.Fatalf("seed %d: the next look is in %s", seed, v.Next)
			case (len(v.Changes) == 1) != (now != last):
				t.Fatalf("seed %d: from %s to %s, changes %+v", seed, last, now, v.Changes)
			}
			last = now
		}
	}
}

func TestValidate(t *testing.T) {
	good := overload.Config{Steps: overload.Defaults()}
	if err := good.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	bad := overload.Config{Interval: time.Millisecond, Steps: [3]overload.Steps{{overload.CloseIdle: 1.5}, {overload.Refuse: 0.5, overload.ShedLow: 0.4}, {}}}
	err := bad.Validate()
	want := []string{
		"an interval of 1ms is not between 20ms and 1m",
		`memory: "close idle" begins at 1.5, which is not between 0 and 1`,
		`descriptors: "shed low" begins at 0.4, below what comes before it: lower that, too, or set it to 0`,
	}
	if err == nil {
		t.Fatal("no mistakes are found")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}
