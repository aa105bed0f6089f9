package slot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// stateMagic starts a state file; its last byte is the format's version. The SHA-256 of the rest follows, and then the rest.
var stateMagic = []byte("axle-state\x01")

// maxState bounds a state file in bytes.
const maxState = 64 << 20

// stateRest is the least time between two writes: configuration may change many times a second, and each write waits for the disk.
const stateRest = time.Second

func (d Dir) state(key string) string { return d.run("state", key) }

// State reads what was kept under key. It returns nil and no error when nothing was, and an error when it is damaged.
func (d Dir) State(key string) ([]byte, error) {
	f, err := os.Open(d.state(key))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kept state %q: %w", key, err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxState))
	if err != nil {
		return nil, fmt.Errorf("kept state %q: %w", key, err)
	}
	data, err := openState(b)
	if err != nil {
		return nil, fmt.Errorf("kept state %q: %w", key, err)
	}
	return data, nil
}

func sealState(data []byte) []byte {
	sum := sha256.Sum256(data)
	return slices.Concat(stateMagic, sum[:], data)
}

func openState(b []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(b, stateMagic)
	if !ok || len(rest) < sha256.Size {
		return nil, errors.New("it is of no known format")
	}
	data := rest[sha256.Size:]
	if sum := sha256.Sum256(data); !bytes.Equal(sum[:], rest[:sha256.Size]) {
		return nil, errors.New("its checksum does not match")
	}
	return data, nil
}

// Keeper writes what the serving process would need to start again without the operator. Only the one that serves writes: open it with
// Open. It is safe for concurrent use.
type Keeper struct {
	Dir Dir
	Log logr.Logger

	mu     sync.Mutex
	open   bool
	latest map[string][]byte
	dirty  map[string]bool
	wake   chan struct{}
}

// NewKeeper returns a Keeper that is not open.
func NewKeeper(d Dir, log logr.Logger) *Keeper {
	return &Keeper{Dir: d, Log: log, latest: map[string][]byte{}, dirty: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// Keep makes data what is kept under key. It does not wait for the disk.
func (k *Keeper) Keep(key string, data []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if bytes.Equal(k.latest[key], data) {
		return
	}
	k.latest[key], k.dirty[key] = data, true
	k.stir()
}

// Open lets what was kept until now and later go to the disk.
func (k *Keeper) Open() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open = true
	k.stir()
}

func (k *Keeper) stir() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends, and then what is left.
func (k *Keeper) Run(ctx context.Context) {
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			k.write()
			return
		case <-rest.C:
		}
		select {
		case <-ctx.Done():
			k.write()
			return
		case <-k.wake:
		}
		k.write()
		rest.Reset(stateRest)
	}
}

func (k *Keeper) write() {
	k.mu.Lock()
	todo := map[string][]byte{}
	if k.open {
		for key := range k.dirty {
			todo[key] = k.latest[key]
		}
		clear(k.dirty)
	}
	k.mu.Unlock()
	for key, data := range todo {
		if err := k.Dir.keep(key, data); err != nil {
			k.Log.Error(err, "A restart of the pod would not find this without the operator", "key", key)
		}
	}
}

func (d Dir) keep(key string, data []byte) error {
	if err := os.MkdirAll(d.run("state"), 0o700); err != nil {
		return err
	}
	return replace(d.state(key), sealState(data))
}

// replace writes a file at once, so that nobody reads half of it, and puts it on the disk.
func replace(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp.Name()))
	}
	return nil
}

// readFull reads until b is full or the file ends.
func readFull(r io.Reader, b []byte) (int, error) {
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}
