package boltserver

import (
	"encoding/json"
	"net/http"
)

// Handler serves GET /report.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Report()) // the reader went away: nobody is left to tell
	})
	return mux
}
