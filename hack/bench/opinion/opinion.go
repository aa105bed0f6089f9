// Package opinion is a second one: the same loads by generators that others have written, wrk for HTTP/1.1 and h2load for
// HTTP/2, so that a mistake of the bench's own cannot decide a comparison. They check status codes and no content.
package opinion

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/axlemesh/axle/hack/bench/load"
)

// Tool is a generator.
type Tool struct {
	// Name of the program, and the package of Debian that has it.
	Name, Package string
	Protocol      load.Protocol
	// Command asks addr for a while; dir is a folder for its files.
	Command func(binary, dir, addr string, size int, d time.Duration) ([]string, error)
	// Parse reads what it says.
	Parse func(out string) (Result, error)
}

// Result of one run.
type Result struct {
	Requests int64
	RPS      float64
}

// Tools are all of them.
var Tools = []Tool{
	{"wrk", "wrk", load.HTTP, wrk, parseWrk},
	{"h2load", "nghttp2-client", load.HTTP2, h2load, parseH2load},
}

func write(dir, name string, content []byte) (string, error) {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return "", fmt.Errorf("file for a generator: %w", err)
	}
	return path, nil
}

func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(d.Round(time.Second)/time.Second)))
}

// wrk has 64 connections with one request each.
func wrk(binary, dir, addr string, size int, d time.Duration) ([]string, error) {
	script, err := write(dir, "wrk.lua", fmt.Appendf(nil, "wrk.method = \"POST\"\nwrk.body = %q\nwrk.headers[\"Host\"] = %q\nwrk.headers[\"Content-Type\"] = \"application/octet-stream\"\n",
		load.Filler(size), load.Host))
	return []string{binary, "-t", "1", "-c", "64", "-d", seconds(d), "-s", script, "http://" + addr + "/bench/echo"}, err
}

// h2load has 4 connections with 32 requests each.
func h2load(binary, dir, addr string, size int, d time.Duration) ([]string, error) {
	body, err := write(dir, "h2load.body", load.Filler(size))
	return []string{
		binary, "-t", "1", "-c", "4", "-m", "32", "-D", seconds(d), "-d", body, "-H", ":authority: " + load.Host,
		"-H", "content-type: application/octet-stream", "http://" + addr + "/bench/echo",
	}, err
}

var errSaid = errors.New("that is no good run")

// parseWrk wants requests, a rate, and nothing about errors.
func parseWrk(out string) (Result, error) {
	var r Result
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		var err error
		switch {
		case strings.Contains(line, "Socket errors") || strings.Contains(line, "Non-2xx"):
			return r, fmt.Errorf("wrk says %q: %w", strings.TrimSpace(line), errSaid)
		case len(f) > 3 && f[1] == "requests" && f[2] == "in":
			r.Requests, err = strconv.ParseInt(f[0], 10, 64)
		case len(f) == 2 && f[0] == "Requests/sec:":
			r.RPS, err = strconv.ParseFloat(f[1], 64)
		}
		if err != nil {
			return r, fmt.Errorf("wrk says %q: %w", strings.TrimSpace(line), err)
		}
	}
	return r, r.validate("wrk", out)
}

// parseH2load wants requests, all of which were answered with 2xx, and a rate.
func parseH2load(out string) (Result, error) {
	var r Result
	var good int64
	for line := range strings.Lines(out) {
		f := strings.Fields(strings.NewReplacer(",", "", "req/s", "").Replace(line))
		var err error
		switch {
		case len(f) > 3 && f[0] == "finished":
			r.RPS, err = strconv.ParseFloat(f[3], 64)
		case len(f) > 13 && f[0] == "requests:":
			if f[9] != "0" || f[11] != "0" || f[13] != "0" {
				return r, fmt.Errorf("h2load says %q: %w", strings.TrimSpace(line), errSaid)
			}
		case len(f) > 9 && f[0] == "status":
			good, err = strconv.ParseInt(f[2], 10, 64)
			if f[4] != "0" || f[6] != "0" || f[8] != "0" {
				return r, fmt.Errorf("h2load says %q: %w", strings.TrimSpace(line), errSaid)
			}
		}
		if err != nil {
			return r, fmt.Errorf("h2load says %q: %w", strings.TrimSpace(line), err)
		}
	}
	r.Requests = good
	return r, r.validate("h2load", out)
}

func (r Result) validate(tool, out string) error {
	if r.Requests > 0 && r.RPS > 0 {
		return nil
	}
	return fmt.Errorf("%s says %.300q: %w", tool, out, errSaid)
}
