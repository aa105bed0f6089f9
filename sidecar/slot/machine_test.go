package slot

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var names = map[Do]string{
	Look: "look", Wait: "wait", Release: "release", Serve: "serve", Candidate: "candidate", Stop: "stop", Leave: "leave",
	Forget: "forget", Own: "own", Fail: "fail", Exit: "exit",
}

func write(acts []Action) string {
	var all []string
	for _, a := range acts {
		text := names[a.Do]
		if a.Do == Exit {
			text += fmt.Sprint(" ", a.Code)
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// line is one event and what the machine has to do about it.
type line struct {
	event Event
	want  string
}

func file(own, serving int64) Event { return Event{What: File, Own: own, Serving: serving} }
func is(p Phase) Event              { return Event{What: Is, Phase: p} }
func ended(code int) Event          { return Event{What: Ended, Code: code, Reason: "it says why"} }

// after is e some time after the one before it.
func after(d time.Duration, e Event) Event {
	e.At = time.Time{}.Add(d)
	return e
}

func TestMachine(t *testing.T) {
	free, busy := Event{What: Seen}, Event{What: Seen, Held: true}
	got, inherited := Event{What: Obtained}, Event{What: Obtained, Held: true}
	left := Event{What: Obtained, Held: true, Left: true}
	gave := Event{What: Ended, Gave: true}
	term := Event{What: Term}
	tick := func(d time.Duration) Event { return after(d, Event{What: Tick}) }
	serves := []line{{file(2, 2), "look"}, {free, "wait"}, {got, "serve"}, {is(Starting), ""}, {is(Serving), "own"}}
	idles := []line{{file(1, 2), "look"}, {busy, "wait"}}
	waits := []line{{file(3, 2), "candidate, look"}, {busy, "wait"}, {is(Starting), ""}}
	took := append(slices.Clip(waits), line{is(Taking), ""}, line{is(Serving), "own"})
	and := func(first []line, more ...line) []line { return append(slices.Clip(first), more...) }
	cases := map[string]struct {
		failed  int64
		lines   []line
		settled bool
	}{
		"the one that is to serve takes a free lock at once": {lines: serves, settled: true},
		"before its child serves it is not settled":          {lines: serves[:4]},
		"the other one idles":                                {lines: idles, settled: true},
		"it serves at once when the other is gone":           {lines: and(idles, line{inherited, "serve"}, line{is(Serving), "own"}), settled: true},
		"it leaves a free lock to the other for a while": {lines: []line{
			{file(1, 2), "look"}, {free, ""}, {tick(look), "look"}, {free, ""}, {tick(look), "look"}, {busy, "wait"}}, settled: true},
		"it takes a free lock after 5 s": {lines: []line{
			{file(1, 2), "look"}, {free, ""}, {tick(patience), "look"}, {free, "wait"}, {got, "serve"}}},
		"the other was faster after all, and may leave later": {lines: []line{
			{file(1, 2), "look"}, {free, ""}, {tick(patience), "look"}, {free, "wait"}, {left, "release"}, {tick(look), "look"}}, settled: true},
		"serving is another's business when it is started again": {lines: []line{{file(2, 2), "look"}, {busy, "wait"}}, settled: true},
		"nobody is to serve":                     {lines: []line{{file(2, 0), "forget"}}, settled: true},
		"nobody is to serve any more":            {lines: and(serves, line{file(2, 0), "leave"}, line{ended(0), "forget, forget"}), settled: true},
		"nobody is to serve, and the lock comes": {lines: and(idles, line{file(1, 0), "forget"}, line{inherited, "release"}), settled: true},
		"nobody is to serve before it serves":    {lines: and(serves[:4], line{file(2, 0), "stop"}, line{ended(0), "forget, forget"}), settled: true},
		"and somebody again":                     {lines: and(serves, line{file(2, 0), "leave"}, line{ended(0), "forget, forget"}, line{file(2, 2), "look"}, line{free, "wait"}, line{left, "serve"})},
		"the other waits for its turn when somebody is to serve again": {lines: and(idles, line{file(1, 0), "forget"}, line{inherited, "release"},
			line{file(1, 2), "look"}, line{free, ""}), settled: true},
		"the operator said it first: leaving is no accident": {lines: and(serves, line{ended(0), "forget, look"}, line{free, "wait"},
			line{Event{What: Obtained, Left: true}, "release"}, line{tick(look), "look"}, line{file(2, 0), "forget"}), settled: true},
		"nor is it for the other one": {lines: and(idles, line{left, "release"}, line{file(1, 0), "forget"}), settled: true},

		"a candidate waits":                      {lines: waits, settled: true},
		"a candidate takes over":                 {lines: took, settled: true},
		"a candidate of a dead server serves":    {lines: and(waits, line{inherited, "stop"}, line{ended(0), "serve"})},
		"one in its handover gets a little time": {lines: and(waits, line{is(Taking), ""}, line{inherited, ""}, line{tick(candidateEnds), "stop"}, line{ended(0), "serve"})},
		"and uses it":                            {lines: and(waits, line{is(Taking), ""}, line{inherited, ""}, line{ended(10), "serve"})},
		"a failed candidate ends once":           {lines: and(waits, line{is(Taking), ""}, line{ended(10), ""}, line{tick(verdictAfter), "fail, exit 10"})},
		"it failed because the server died":      {lines: and(waits, line{ended(10), ""}, line{inherited, "serve"})},
		"started again it idles":                 {failed: 3, lines: []line{{file(3, 2), "look"}, {busy, "wait"}}, settled: true},
		"a failed one lets the other come back":  {failed: 3, lines: []line{{file(3, 2), "look"}, {busy, "wait"}, {inherited, "release"}, {tick(look), "look"}, {busy, "wait"}}, settled: true},
		"and serves when it does not": {failed: 3, lines: []line{{file(3, 2), "look"}, {busy, "wait"}, {inherited, "release"},
			{tick(patience), "look"}, {after(patience, free), "wait"}, {after(patience, got), "serve"}}},
		"a new generation is tried":             {failed: 3, lines: []line{{file(5, 4), "candidate, look"}}, settled: true},
		"a candidate that is not wanted idles":  {lines: and(waits, line{ended(0), ""}), settled: true},
		"until the file says something new":     {lines: and(waits, line{ended(0), ""}, line{file(3, 1), "candidate"}), settled: true},
		"nobody is to serve, nor to take over":  {lines: and(waits, line{file(3, 0), "stop"}, line{ended(0), "forget"}), settled: true},
		"but a handover is not broken off":      {lines: and(waits, line{is(Taking), ""}, line{file(3, 0), ""}, line{is(Serving), "own, leave"}), settled: true},
		"the file follows the candidate's rise": {lines: and(took, line{file(3, 3), ""}), settled: true},
		"after its handover it idles":           {lines: and(serves, line{gave, "look"}, line{busy, "wait"}), settled: true},
		"and would serve again":                 {lines: and(took, line{gave, ""}, line{inherited, "serve"})},

		"another generation leaves the end of an idle slot to the kubelet": {lines: and(idles, line{file(3, 2), ""}, line{term, "exit 0"})},
		"which may forget it":                                   {lines: and(idles, line{file(3, 2), ""}, line{tick(staleAfter - 1), ""}, line{tick(staleAfter), "exit 0"})},
		"or be told of yet another first":                       {lines: and(idles, line{file(3, 2), ""}, line{after(time.Second, file(1, 2)), ""}, line{tick(staleAfter), ""}), settled: true},
		"a slot that is to be ended still takes over":           {lines: and(idles, line{file(3, 2), ""}, line{inherited, "serve"}, line{is(Serving), "own"}), settled: true},
		"and a candidate":                                       {lines: and(waits, line{file(5, 2), ""}, line{term, ""}, line{ended(0), "exit 0"})},
		"but never one that serves":                             {lines: and(serves, line{file(4, 2), ""}), settled: true},
		"before it has handed over":                             {lines: and(serves, line{file(4, 2), ""}, line{gave, "exit 0"})},
		"a server that gives up ends, and the other takes over": {lines: and(serves[:4], line{ended(12), "exit 12"})},
		"terminated while it idles":                             {lines: and(idles, line{term, "exit 0"})},
		"terminated while it serves":                            {lines: and(serves, line{term, ""}, line{ended(0), "exit 0"})},
		"terminated as a candidate":                             {lines: and(waits, line{term, ""}, line{ended(0), "exit 0"})},
		"terminated before it knew who it is":                   {lines: []line{{term, "exit 0"}}},
		"a restarted proxy serves again":                        {lines: and(serves, line{is(Starting), ""}, line{is(Serving), "own"}), settled: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := &Machine{Failed: tc.failed}
			now := time.Unix(1_800_000_000, 0)
			var want, did []string
			for _, l := range tc.lines {
				now = now.Add(l.event.At.Sub(time.Time{}))
				l.event.At = now
				want, did = append(want, l.want), append(did, write(m.Step(l.event)))
			}
			if diff := cmp.Diff(want, did); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			if got := m.Settled(); got != tc.settled && !m.over {
				t.Errorf("settled %t, want %t", got, tc.settled)
			}
			if m.over && len(m.Step(Event{What: Tick})) > 0 {
				t.Error("it does something after its end")
			}
		})
	}
}
