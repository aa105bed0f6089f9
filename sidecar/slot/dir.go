// Package slot is PID 1 of a slot: one of the two containers of a pod that take turns in serving it. Its supervisor runs a proxy,
// or idles and is ready to.
//
// A slot learns who it is from a file, and who serves from a lock (flock) in a directory that only the slots share. The open file
// description that holds the lock moves with the listening sockets in a handover, so that the lock is never free while somebody serves;
// it is free when the last process that could serve is gone. The slot that does not serve keeps duplicates of the listening sockets, so
// that nobody who connects is refused between the death of one slot and the start of the other's proxy.
//
// What happens next is decided by a pure Machine; the shell around it reads files, holds descriptors and runs a supervisor.Hold.
package slot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// runDir is the slots' private directory: the one above it may be open to everybody.
const runDir = "run"

// maxFile bounds the small files that a slot reads.
const maxFile = 64 << 10

// Dir is the directory that the slots of a pod share.
type Dir string

func (d Dir) run(elem ...string) string {
	return filepath.Join(append([]string{string(d), runDir}, elem...)...)
}

// Lock is the file that whoever serves holds a flock on.
func (d Dir) Lock() string { return d.run("lock") }

// Socket is where the supervisor of a slot listens.
func (d Dir) Socket(name string) string { return d.run(name + ".sock") }

func (d Dir) failed(name string) string { return d.run(name + ".failed") }

// open makes the directory, or checks that nobody else can look into it.
func (d Dir) open() error {
	err := os.Mkdir(d.run(), 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the slots' directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(d.run(), &st); err != nil {
		return fmt.Errorf("the slots' directory %s: %w", d.run(), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&0o077 != 0 || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("the slots' directory %s has to be a directory of user %d with mode 0700", d.run(), os.Geteuid())
	}
	return nil
}

// InMemory says that what is written here reaches no disk.
func (d Dir) InMemory() bool {
	var st unix.Statfs_t
	return unix.Statfs(string(d), &st) == nil && (int64(st.Type) == unix.TMPFS_MAGIC || int64(st.Type) == unix.RAMFS_MAGIC)
}

// Identity is what the slots' file says to one of them.
type Identity struct {
	// Generation and Version of this slot.
	Generation int64
	Version    string
	// Serving is the generation that is to serve when nobody does, 0 for none.
	Serving int64
}

// parseIdentity reads the slots' file for the slot called name.
func parseIdentity(name string, b []byte) (Identity, error) {
	type one struct {
		Generation int64  `json:"generation"`
		Version    string `json:"version"`
	}
	var all struct {
		Serving int64 `json:"serving"`
		A       one   `json:"a"`
		B       one   `json:"b"`
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return Identity{}, err
	}
	self := all.A
	if name == "b" {
		self = all.B
	}
	if self.Generation < 1 || self.Version == "" || all.Serving < 0 {
		return Identity{}, fmt.Errorf("generation %d, version %q, serving %d: they make no sense", self.Generation, self.Version, all.Serving)
	}
	return Identity{Generation: self.Generation, Version: self.Version, Serving: all.Serving}, nil
}

func readIdentity(file, name string) (Identity, error) {
	b, err := readSmall(file)
	if err != nil {
		return Identity{}, fmt.Errorf("the slots' file: %w", err)
	}
	id, err := parseIdentity(name, b)
	if err != nil {
		return Identity{}, fmt.Errorf("the slots' file %s, slot %q: %w", file, name, err)
	}
	return id, nil
}

// readSmall reads a file of at most maxFile bytes.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, maxFile+1)
	n, err := readFull(f, b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if n > maxFile {
		return nil, fmt.Errorf("read %s: it is longer than %d bytes", path, maxFile)
	}
	return b[:n], nil
}

// failure is a generation whose candidate failed: started again, it idles.
type failure struct {
	Generation int64  `json:"generation"`
	Reason     string `json:"reason"`
}

func (d Dir) recordFailure(name string, f failure) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return replace(d.failed(name), b)
}

// lastFailure is 0 when there was none, or when nothing can be read of it.
func (d Dir) lastFailure(name string) (int64, error) {
	b, err := readSmall(d.failed(name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	var f failure
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	return f.Generation, err
}
