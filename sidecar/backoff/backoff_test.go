package backoff

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestDelay(t *testing.T) {
	p := Policy{First: time.Second, Max: 10 * time.Second}
	low, high := p, p
	low.Random = func() float64 { return 0 }
	high.Random = func() float64 { return 0.999 }
	for failures, want := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 4: 8, 5: 10, 1 << 30: 10} {
		want *= time.Second
		if got := p.Delay(failures); got != want {
			t.Errorf("after %d failures %s, want %s", failures, got, want)
		}
		if got := low.Delay(failures); got != want/2 {
			t.Errorf("after %d failures at least %s, want %s", failures, got, want/2)
		}
		if got := high.Delay(failures); got >= want || got < want*9/10 {
			t.Errorf("after %d failures at most %s, want just under %s", failures, got, want)
		}
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Wait(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v, want context.Canceled", err)
	}
	if err := Wait(context.Background(), time.Nanosecond); err != nil {
		t.Errorf("Wait = %v", err)
	}
}
