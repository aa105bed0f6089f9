package tally

import (
	"context"
	"encoding/json"
	"net/http"
)

// Client is a strict client that can be asked and told.
type Client interface {
	Report() (Report, error)
	Connections() []Connection
	// Enter makes name the window that latencies are counted in from now on.
	Enter(name string)
	Pause()
	Resume()
	// Drain waits until nothing is in flight.
	Drain(ctx context.Context)
}

// Handler serves the report and takes commands:
//
//	GET  /report            everything counted so far
//	GET  /connections       the open connections with their local ports
//	POST /window?name=NAME  count latencies in that window from now on
//	POST /pause, /resume    stop and start sending; pause returns when nothing is in flight
func Handler(c Client) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) { serveReport(w, c) })
	mux.HandleFunc("GET /connections", func(w http.ResponseWriter, _ *http.Request) { answer(w, c.Connections()) })
	mux.HandleFunc("POST /window", func(w http.ResponseWriter, r *http.Request) {
		name := r.FormValue("name")
		if name == "" {
			http.Error(w, "name is missing", http.StatusBadRequest)
			return
		}
		c.Enter(name)
		serveReport(w, c)
	})
	mux.HandleFunc("POST /pause", func(w http.ResponseWriter, r *http.Request) {
		c.Pause()
		c.Drain(r.Context())
		serveReport(w, c)
	})
	mux.HandleFunc("POST /resume", func(w http.ResponseWriter, _ *http.Request) {
		c.Resume()
		serveReport(w, c)
	})
	return mux
}

func serveReport(w http.ResponseWriter, c Client) {
	r, err := c.Report()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, r)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the reader went away: nobody is left to tell
}
