package slot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/sockets"
)

// LockKey names the lock among the descriptors of the one that serves.
const LockKey = sockets.Lock

// leftMark follows the term while the one who held the lock last has left the pod for good.
const leftMark = " left"

// maxTerm bounds the content of the lock file.
const maxTerm = 64

// openLock opens the lock file anew: each opening competes for the lock by itself.
func openLock(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return -1, fmt.Errorf("lock %s: %w", path, err)
	}
	return fd, nil
}

// heldElsewhere says whether anybody holds the lock. Two that look do not disturb each other.
func heldElsewhere(path string) (bool, error) {
	fd, err := openLock(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	err = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	return false, nil
}

// obtain waits for the lock, and says whether it had to. Only the end of the process ends the wait.
func obtain(path string) (fd int, waited bool, err error) {
	if fd, err = openLock(path); err != nil {
		return -1, false, err
	}
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		waited = true
		for {
			if err = unix.Flock(fd, unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
				break
			}
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, waited, fmt.Errorf("lock %s: %w", path, err)
	}
	return fd, waited, nil
}

// parseTerm reads "TERM" or "TERM left"; an empty file is term 0.
func parseTerm(b []byte) (term int64, left, ok bool) {
	b = bytes.TrimSuffix(b, []byte("\n"))
	b, left = bytes.CutSuffix(b, []byte(leftMark))
	if len(b) == 0 && !left {
		return 0, false, true
	}
	term, err := strconv.ParseInt(string(b), 10, 64)
	return term, left, err == nil && term >= 0
}

func readTerm(fd int) (term int64, left, ok bool) {
	b := make([]byte, maxTerm)
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		return 0, false, false
	}
	return parseTerm(b[:n])
}

func writeTerm(fd int, term int64, left bool) error {
	text := strconv.FormatInt(term, 10)
	if left {
		text += leftMark
	}
	b := []byte(text + "\n")
	if _, err := unix.Pwrite(fd, b, 0); err != nil {
		return fmt.Errorf("write the term: %w", err)
	}
	if err := unix.Ftruncate(fd, int64(len(b))); err != nil {
		return fmt.Errorf("write the term: %w", err)
	}
	if err := unix.Fsync(fd); err != nil {
		return fmt.Errorf("write the term: %w", err)
	}
	return nil
}

// nextTerm begins a term: its holder starts cold. A content that cannot be read is replaced by the time in seconds, which no count of
// starts has reached: a term never goes back.
func nextTerm(fd int, now time.Time) (int64, error) {
	term, _, ok := readTerm(fd)
	if !ok {
		term = now.Unix()
	}
	return term + 1, writeTerm(fd, term+1, false)
}

// Term reads the present term of a pod's slots; 0 when there was none yet or nothing can be read.
func (d Dir) Term() int64 {
	b, err := readSmall(d.Lock())
	if err != nil {
		return 0
	}
	term, _, _ := parseTerm(b)
	return term
}

// MarkLeft notes in the lock file that its holder leaves because nobody is to serve: whoever gets the lock next does not take it for an
// accident. lock is the holder's descriptor.
func MarkLeft(lock int) error {
	term, _, ok := readTerm(lock)
	if !ok {
		return os.ErrInvalid
	}
	return writeTerm(lock, term, true)
}
