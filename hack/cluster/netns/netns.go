// Package netns runs code and opens sockets inside another network namespace.
//
// A socket belongs for good to the namespace that its thread was in when it was
// made, so one process can serve on both sides and carry bytes across.
package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Of names the network namespace of a process.
func Of(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

// Do calls f on a thread that is inside the namespace that path names. What f
// starts in other goroutines runs outside.
func Do(path string, f func() error) error {
	target, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open network namespace %q: %w", path, err)
	}
	defer target.Close()
	result := make(chan error, 1)
	go func() { // its own goroutine, so that a thread that cannot come back is thrown away
		result <- onThread(target, f)
	}()
	return <-result
}

func onThread(target *os.File, f func() error) error {
	runtime.LockOSThread() // undone only when the thread is known to be back home
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the own network namespace: %w", err)
	}
	defer home.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %q: %w", target.Name(), err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leave network namespace %q: %w", target.Name(), back))
	}
	runtime.UnlockOSThread()
	return err
}

// Listen opens a TCP listener inside the namespace.
func Listen(ctx context.Context, path, address string) (net.Listener, error) {
	var l net.Listener
	err := Do(path, func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(ctx, "tcp4", address)
		return err
	})
	return l, err
}

// Dial connects to an IP address and port from inside the namespace. Names are
// refused: the resolver would ask from a thread outside.
func Dial(ctx context.Context, path, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %q inside the namespace: %w", address, err)
	}
	if net.ParseIP(host) == nil {
		return nil, fmt.Errorf("dial %q inside the namespace: not an IP address", address)
	}
	var conn net.Conn
	err = Do(path, func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
