package load

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// counters are what a proxy has counted itself since it started.
type counters struct{ mallocs, reads, writes float64 }

// askTime bounds one question for counters.
const askTime = 2 * time.Second

// ask reads the counters of a proxy from its metrics. A connection of its own for each time leaves nothing behind.
func ask(url string) (counters, error) {
	c := http.Client{Timeout: askTime, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		return counters{}, fmt.Errorf("ask for counters: %w", err)
	}
	defer resp.Body.Close()
	return parseCounters(resp.Body)
}

// parseCounters finds the counters among metrics in Prometheus' text format.
func parseCounters(metrics io.Reader) (counters, error) {
	var c counters
	into := map[string]*float64{
		"go_memstats_mallocs_total": &c.mallocs, "axle_read_calls_total": &c.reads, "axle_write_calls_total": &c.writes,
	}
	for lines := bufio.NewScanner(metrics); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		to := into[name]
		if to == nil {
			continue
		}
		var err error
		if *to, err = strconv.ParseFloat(value, 64); err != nil {
			return counters{}, fmt.Errorf("counter %s: %w", name, err)
		}
		delete(into, name)
	}
	if len(into) > 0 {
		return counters{}, fmt.Errorf("%d counters are missing", len(into))
	}
	return c, nil
}

// tally counts what a proxy does from begin to end, less what asking costs it.
type tally struct {
	url         string // empty counts nothing
	first, cost counters
}

func (t *tally) begin() error {
	if t.url == "" {
		return nil
	}
	before, err := ask(t.url)
	if err != nil {
		return err
	}
	t.first, err = ask(t.url)
	t.cost = counters{t.first.mallocs - before.mallocs, t.first.reads - before.reads, t.first.writes - before.writes}
	return err
}

// end puts into r what was counted for each of its requests.
func (t *tally) end(r *Result) error {
	r.Allocations = -1
	if t.url == "" {
		return nil
	}
	last, err := ask(t.url)
	if err != nil {
		return err
	}
	each := func(last, first, cost float64) float64 { return max(last-first-cost, 0) / float64(r.Requests) }
	r.Allocations = each(last.mallocs, t.first.mallocs, t.cost.mallocs)
	r.Reads, r.Writes = each(last.reads, t.first.reads, 0), each(last.writes, t.first.writes, 0)
	return nil
}
