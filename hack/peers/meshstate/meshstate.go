// Package meshstate asks the sidecar on localhost what it is doing, the way a cooperating application does.
package meshstate

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// Where a sidecar answers.
const (
	DefaultURL        = "http://127.0.0.1:13330/state"
	DefaultMetricsURL = "http://127.0.0.1:13331/metrics"
)

// The states that matter to an application. Any other means: stay where you are.
const (
	Serving = "serving"
	Leaving = "leaving"
	Left    = "left"
	// Absent is not said by a sidecar: nobody listens.
	Absent = "absent"
)

// State is the sidecar's answer.
type State struct {
	State      string `json:"state"`
	Version    string `json:"version,omitempty"`
	Generation int64  `json:"generation,omitempty"`
}

// maxAnswer bounds what is read.
const maxAnswer = 1 << 20

// Source asks a sidecar. The zero value works.
type Source struct{ client http.Client }

// State asks url; when nobody listens there, the state is Absent and the error nil.
func (s *Source) State(ctx context.Context, url string) (State, error) {
	body, err := s.read(ctx, url)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return State{State: Absent}, nil
	}
	if err != nil {
		return State{}, err
	}
	var st State
	if err := json.Unmarshal(body, &st); err != nil {
		return State{}, fmt.Errorf("mesh state at %s: %w", url, err)
	}
	return st, nil
}

// Metrics returns the sidecar's own metric lines (those that start with prefix).
func (s *Source) Metrics(ctx context.Context, url, prefix string) ([]string, error) {
	body, err := s.read(ctx, url)
	if err != nil {
		return nil, err
	}
	var out []string
	lines := bufio.NewScanner(strings.NewReader(string(body)))
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), prefix) {
			out = append(out, lines.Text())
		}
	}
	return out, lines.Err()
}

func (s *Source) read(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	req.Close = true // a kept connection would tie the answer to one generation of the sidecar
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask %s: status %d", url, resp.StatusCode)
	}
	return body, nil
}

// View is what a pod's application can see of its sidecar.
type View struct {
	State
	// Metrics are the sidecar's own lines; Problem says why there are none.
	Metrics []string `json:"metrics,omitempty"`
	Problem string   `json:"problem,omitempty"`
}

// Handler serves a View of the sidecar on localhost.
func Handler(stateURL, metricsURL string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var src Source
		st, err := src.State(r.Context(), stateURL)
		v := View{State: st}
		if err == nil && st.State != Absent {
			v.Metrics, err = src.Metrics(r.Context(), metricsURL, "axle_")
		}
		if err != nil {
			v.Problem = err.Error()
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // the reader went away: nobody is left to tell
	})
}
