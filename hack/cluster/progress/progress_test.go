package progress

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"
)

func TestStepShowsThatItIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		err := Step(&out, clock.RealClock{}, "build", func() string { return "7 packages" }, func() error {
			time.Sleep(25 * time.Second)
			return nil
		})
		want := "build: 10s so far, 7 packages\nbuild: 20s so far, 7 packages\nbuild: took 25s\n"
		if err != nil || out.String() != want {
			t.Errorf("%v, printed %q, want %q", err, out.String(), want)
		}
	})
}

func TestStepReportsFailure(t *testing.T) {
	var out bytes.Buffer
	boom := errors.New("boom")
	if err := Step(&out, clock.RealClock{}, "build", nil, func() error { return boom }); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if !strings.HasPrefix(out.String(), "build: failed after") {
		t.Errorf("printed %q", out.String())
	}
}

func TestPoll(t *testing.T) {
	boom := errors.New("boom")
	cases := map[string]struct {
		done func(n int) (bool, error)
		want string
	}{
		"done at the third look": {func(n int) (bool, error) { return n == 3, nil }, ""},
		"an error ends it":       {func(int) (bool, error) { return false, boom }, "boom"},
		"the limit ends it":      {func(int) (bool, error) { return false, nil }, "not done within 1m0s"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				err := Poll(t.Context(), clock.RealClock{}, time.Second, time.Minute, func() (bool, error) {
					n++
					return tc.done(n)
				})
				if got := errorText(err); got != tc.want {
					t.Errorf("got %q, want %q", got, tc.want)
				}
			})
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
