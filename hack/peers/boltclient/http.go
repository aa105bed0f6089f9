package boltclient

import (
	"encoding/json"
	"net/http"
)

// Handler serves the report and takes commands:
//
//	GET  /report            everything counted so far
//	GET  /connections       the open connections with their local ports
//	POST /window?name=NAME  count latencies in that window from now on
//	POST /pause, /resume    stop and start sending; pause returns when nothing is in flight
func (c *Client) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) { c.serveReport(w) })
	mux.HandleFunc("GET /connections", func(w http.ResponseWriter, _ *http.Request) { answer(w, c.Connections()) })
	mux.HandleFunc("POST /window", func(w http.ResponseWriter, r *http.Request) {
		name := r.FormValue("name")
		if name == "" {
			http.Error(w, "name is missing", http.StatusBadRequest)
			return
		}
		c.Enter(name)
		c.serveReport(w)
	})
	mux.HandleFunc("POST /pause", func(w http.ResponseWriter, r *http.Request) {
		c.Pause()
		c.Drain(r.Context())
		c.serveReport(w)
	})
	mux.HandleFunc("POST /resume", func(w http.ResponseWriter, _ *http.Request) {
		c.Resume()
		c.serveReport(w)
	})
	return mux
}

func (c *Client) serveReport(w http.ResponseWriter) {
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
