// Command app is what the self-test deploys: a server that says who called, a
// client that fetches once, and an admission webhook.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0 || args[0] == "serve":
		return serve(ctx)
	case args[0] == "idle":
		<-ctx.Done()
		return nil
	case args[0] == "fetch" && len(args) == 2:
		return fetch(ctx, args[1])
	case args[0] == "webhook":
		return webhook(ctx)
	default:
		return fmt.Errorf("unknown arguments %q", args)
	}
}

// serve answers with the caller's address.
func serve(ctx context.Context) error {
	return listen(ctx, &http.Server{Addr: ":8080", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprint(w, host)
	})}, "", "")
}

// webhook marks every object it admits. Its certificate comes in files, and
// the files from a Secret.
func webhook(ctx context.Context) error {
	const patch = `[{"op":"add","path":"/metadata/annotations","value":{"selftest/seen":"yes"}}]`
	return listen(ctx, &http.Server{Addr: ":8443", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review map[string]any
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		request, _ := review["request"].(map[string]any)
		review["response"] = map[string]any{
			"uid": request["uid"], "allowed": true, "patchType": "JSONPatch", "patch": []byte(patch),
		}
		delete(review, "request")
		_ = json.NewEncoder(w).Encode(review)
	})}, "/tls/tls.crt", "/tls/tls.key")
}

func listen(ctx context.Context, s *http.Server, cert, key string) error {
	s.ReadHeaderTimeout = 5 * time.Second
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	var err error
	if cert == "" {
		err = s.ListenAndServe()
	} else {
		err = s.ListenAndServeTLS(cert, key)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// fetch prints what a URL answers.
func fetch(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("fetch %q: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("fetch %q: %w", url, err)
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, io.LimitReader(response.Body, 1<<20))
	return err
}
