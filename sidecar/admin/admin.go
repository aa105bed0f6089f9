// Package admin answers the people and the probes that look at one sidecar: health, readiness, what it is configured
// with, its connections, its metrics. It listens on loopback, on the serving generation alone, and shows no secret.
package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	"runtime"
	"runtime/debug"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config says what there is to show. Nil functions leave their page out.
type Config struct {
	// Healthy returns why the process should be restarted; Ready why it cannot serve yet. Nil is well.
	Healthy, Ready func() error
	// Dump, Connections and Clusters are shown as JSON.
	Dump, Connections, Clusters func() any
	// Metrics to gather.
	Metrics prometheus.Gatherer
	// Level sets the verbosity of the log: 0 is state changes, 1 is debug.
	Level func(int)
	// Profile adds /debug/pprof.
	Profile bool
}

// Handler serves the pages. Every response ends its connection: an idle one would have to be moved in a handover.
func Handler(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", index)
	if c.Healthy != nil {
		mux.HandleFunc("GET /healthz", probe(c.Healthy))
	}
	if c.Ready != nil {
		mux.HandleFunc("GET /readyz", probe(c.Ready))
	}
	if c.Dump != nil {
		mux.HandleFunc("GET /config_dump", page(c.Dump))
	}
	if c.Connections != nil {
		mux.HandleFunc("GET /connections", page(c.Connections))
	}
	if c.Clusters != nil {
		mux.HandleFunc("GET /clusters", page(c.Clusters))
	}
	if c.Metrics != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{}))
	}
	if c.Level != nil {
		mux.HandleFunc("PUT /log_level", level(c.Level))
	}
	mux.HandleFunc("POST /gc", collect)
	if c.Profile {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		mux.ServeHTTP(w, r)
	})
}

func index(w http.ResponseWriter, _ *http.Request) {
	_, _ = fmt.Fprintln(w, "GET /healthz /readyz /config_dump /clusters /connections /metrics; PUT /log_level?level=0|1; POST /gc")
}

func probe(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := check(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	}
}

func page(value func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		b, err := json.MarshalIndent(value(), "", "  ")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(b, '\n')) // the reader may be gone
	}
}

func level(set func(int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("level"))
		if err != nil || n < 0 || n > 1 {
			http.Error(w, "level: want 0 (state changes) or 1 (debug)", http.StatusBadRequest)
			return
		}
		set(n)
		_, _ = fmt.Fprintln(w, "ok")
	}
}

// collect frees what can be freed and says what is left, for those who compare memory before and after.
func collect(w http.ResponseWriter, _ *http.Request) {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	_, _ = fmt.Fprintf(w, "heap_alloc_bytes %d\nheap_objects %d\ngoroutines %d\n", m.HeapAlloc, m.HeapObjects, runtime.NumGoroutine())
}
