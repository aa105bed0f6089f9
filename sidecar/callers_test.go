package main

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// callers connect again and again, and every one of them has to be served.
type callers struct {
	t        *testing.T
	stopping chan struct{}
	running  sync.WaitGroup

	mu       sync.Mutex
	count    int
	failures []error
	slowest  time.Duration
}

func newCallers(t *testing.T, port, n int) *callers {
	c := &callers{t: t, stopping: make(chan struct{})}
	for range n {
		c.running.Go(func() {
			for {
				select {
				case <-c.stopping:
					return
				default:
				}
				began := time.Now()
				err := call(port)
				c.mu.Lock()
				c.count++
				c.slowest = max(c.slowest, time.Since(began))
				if err != nil {
					c.failures = append(c.failures, err)
				}
				c.mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
	}
	return c
}

func call(port int) error {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte("ping")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 4))
	return err
}

func (c *callers) served() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

func (c *callers) refused() []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []error
	for _, err := range c.failures {
		if strings.HasPrefix(err.Error(), "refused") {
			all = append(all, err)
		}
	}
	return all
}

func (c *callers) stop() {
	close(c.stopping)
	c.running.Wait()
}
