//go:build interop

package interop

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// report is what a client of ours has done: how often each kind of call went well, and how much failed.
type report map[string]int

// parseReport reads the last line that begins with the word; it is nil when there is none.
func parseReport(said, word string) report {
	at := strings.LastIndex(said, word+": ")
	if at < 0 {
		return nil
	}
	line, _, complete := strings.Cut(said[at+len(word)+2:], "\n")
	if !complete {
		return parseReport(said[:at], word)
	}
	r := report{}
	for pair := range strings.FieldsSeq(line) {
		kind, count, _ := strings.Cut(pair, "=")
		n, err := strconv.Atoi(count)
		if err != nil {
			n = -1
		}
		r[kind] = n
	}
	return r
}

func TestParseReport(t *testing.T) {
	said := "calling\nso far: failed=0\nso far: failed=1 sync=22\nfailed sync: so far so good\nso far: failed=1 sy"
	if diff := cmp.Diff(report{"failed": 1, "sync": 22}, parseReport(said, "so far")); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if got := parseReport(said, "in all"); got != nil {
		t.Errorf("there is a report: %v", got)
	}
}

// client is a program of ours that calls until it is stopped, and reports all the time.
type client struct {
	*process
	kinds []string // of calls that it does
}

// goesOn waits until each kind of call was done n times more, and fails when a call failed.
func (c client) goesOn(n int) {
	c.t.Helper()
	var from, now report
	eventually(c.t, fmt.Sprintf("%s calls %d times %v", c.name, n, c.kinds), func() bool {
		if now = parseReport(c.out.String(), "so far"); now == nil {
			if !c.running() {
				c.t.Fatalf("%s has ended", c.name)
			}
			return false
		}
		if now["failed"] != 0 || !c.running() {
			c.t.Fatalf("%s has failed: %v\n%s", c.name, now, c.failures())
		}
		if from == nil {
			from = now
		}
		for _, kind := range c.kinds {
			if now[kind] < from[kind]+n {
				return false
			}
		}
		return true
	})
}

// failures are the first that the client has told.
func (c client) failures() string {
	var first []string
	for line := range strings.Lines(c.out.String()) {
		if strings.HasPrefix(line, "failed ") && len(first) < 10 {
			first = append(first, line)
		}
	}
	return strings.Join(first, "")
}

// finish stops the client, which says how it was.
func (c client) finish() {
	c.t.Helper()
	c.stop()
	all := parseReport(c.out.String(), "in all")
	if all == nil || all["failed"] != 0 {
		c.t.Errorf("%s: %v\n%s", c.name, all, c.failures())
	}
	c.t.Logf("%s: %v", c.name, all)
}
