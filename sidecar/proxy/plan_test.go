package proxy

import (
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

func TestBucket(t *testing.T) {
	b := (&Engine{}).bucket("b", config.Limit{Burst: 3, Tokens: 2, Every: time.Second})
	taken := func(at time.Duration) (n int) {
		for range 10 {
			if b.take(at) {
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		at   time.Duration
		want int
	}{{time.Hour, 3}, {time.Hour, 0}, {time.Hour + 499*time.Millisecond, 0}, {time.Hour + 500*time.Millisecond, 1}, {2 * time.Hour, 3}} {
		if got := taken(step.at); got != step.want {
			t.Errorf("at %s: %d tokens, want %d", step.at, got, step.want)
		}
	}
}

func TestBudget(t *testing.T) {
	var b budget
	r := &config.Retry{BudgetPercent: 20, BudgetMin: 2}
	parts := make([]part, 100)
	again := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			if parts[i].again(r) {
				n++
			}
		}
		return n
	}
	for i := range 5 {
		parts[i].open(&b)
	}
	if n := again(0, 5); n != 2 {
		t.Errorf("%d retries of 5 requests, want the least of 2", n)
	}
	for i := range parts {
		parts[i].open(&b)
	}
	if n := again(0, 100); n != 20 {
		t.Errorf("%d retries of 100 requests, want 20", n)
	}
	for i := range parts {
		parts[i].close()
		parts[i].close()
	}
	if b.active.Load() != 0 || b.retries.Load() != 0 {
		t.Errorf("%d requests and %d retries are left", b.active.Load(), b.retries.Load())
	}
}

func TestPause(t *testing.T) {
	p := plan{places: &places{}, retry: &config.Retry{Backoff: 10 * time.Millisecond, MaxBackoff: 35 * time.Millisecond}}
	for nth, most := range map[int]time.Duration{2: 10 * time.Millisecond, 3: 20 * time.Millisecond, 4: 35 * time.Millisecond, 99: 35 * time.Millisecond} {
		var least, longest time.Duration = time.Hour, 0
		for range 1000 {
			d := p.pause(nth)
			least, longest = min(least, d), max(longest, d)
		}
		if longest > most || longest < most*9/10 || least > most/10 {
			t.Errorf("before try %d: from %s to %s, want up to %s", nth, least, longest, most)
		}
	}
}
