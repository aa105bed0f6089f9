package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// keyFile is how two standalone processes find each other. The serving one writes its generation. A candidate adds its
// own and a one-time key: that is the signal to begin, and the proof that both belong to the same user.
type keyFile struct {
	Generation int64  `json:"generation"`
	To         int64  `json:"to,omitempty"`
	Key        []byte `json:"key,omitempty"`
}

// write replaces the file at once, so that nobody reads half of it.
func (k keyFile) write(path string) error {
	b, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("key file %s: %w", path, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".axle-key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("key file %s: %w", path, err)
	}
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("key file %s: %w", path, err), os.Remove(tmp.Name()))
	}
	return nil
}

// readKeyFile believes only a file that nobody else could have written or read.
func readKeyFile(path string) (keyFile, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return keyFile{}, fmt.Errorf("key file: %w", err)
	}
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return keyFile{}, fmt.Errorf("key file %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o077 != 0 || int(st.Uid) != os.Geteuid() {
		return keyFile{}, fmt.Errorf("key file %s: it has to be a regular file of user %d with mode 0600", path, os.Geteuid())
	}
	b := make([]byte, 4096)
	n, err := f.Read(b)
	if err != nil {
		return keyFile{}, fmt.Errorf("key file %s: %w", path, err)
	}
	var k keyFile
	if err := json.Unmarshal(b[:n], &k); err != nil {
		return keyFile{}, fmt.Errorf("key file %s: %w", path, err)
	}
	return k, nil
}
