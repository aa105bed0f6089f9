// Package proxy is the life of a request: it is decoded on a downstream connection, routed, sent on a shared upstream
// connection, and its answer finds the way back. Each loop has a worker that owns all of this; a request never changes
// its worker.
//
// Read it in this order: engine.go, listen.go, worker.go, downstream.go, request.go, upstream.go; tcp.go for plain
// connections, http.go and http2.go with the files that begin like them for HTTP; shake.go for TLS;
// then donor.go, batch.go, candidate.go, relay.go and state.go for the handover.
package proxy
