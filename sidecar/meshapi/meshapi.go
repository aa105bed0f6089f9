// Package meshapi is the local API by which an application finds out whether its pod has a sidecar, and whether that
// stays. A cooperating client asks it while it runs: it calls through the sidecar while the state is "serving", and goes
// back to direct calls when it is "leaving" or when nobody answers.
package meshapi

import (
	"encoding/json"
	"net/http"
)

// States that clients see.
const (
	Serving = "serving"
	Leaving = "leaving"
)

// State is the answer to GET /state.
type State struct {
	State      string `json:"state"`
	Version    string `json:"version"`
	Generation int64  `json:"generation"`
}

// Handler answers GET /state. Every response ends its connection: an idle one would have to be moved in a handover.
func Handler(state func() State) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(state()) // the reader may be gone
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		mux.ServeHTTP(w, r)
	})
}
