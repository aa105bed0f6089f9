package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/handover"
)

// sendPatience is how long the child waits for a supervisor that does not read.
const sendPatience = time.Second

// Child is the proxy's end of the pair. It is safe for concurrent use, and it is a sockets.Store.
type Child struct {
	conn *net.UnixConn
	now  func() time.Time
}

// Kept is what a previous child left with the supervisor.
type Kept struct {
	// Sockets belong to the caller.
	Sockets []handover.Socket
	// State by the keys given to Keep.
	State map[string][]byte
}

// Attach takes over the child's end at fd and receives what was kept.
func Attach(fd int, now func() time.Time) (*Child, Kept, error) {
	unix.CloseOnExec(fd)
	conn, err := unixConn(fd)
	if err != nil {
		return nil, Kept{}, fmt.Errorf("attach to the supervisor at descriptor %d: %w", fd, err)
	}
	c := &Child{conn: conn, now: now}
	kept, err := c.inventory()
	if err != nil {
		_ = conn.Close()
		return nil, Kept{}, fmt.Errorf("receive what the supervisor kept: %w", err)
	}
	return c, kept, nil
}

// unixConn wraps a descriptor that no other process shares the description of.
func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "supervisor")
	defer func() { _ = f.Close() }()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		_ = conn.Close()
		return nil, errors.New("it is no Unix socket")
	}
	return uc, nil
}

func (c *Child) inventory() (Kept, error) {
	kept := Kept{State: make(map[string][]byte)}
	for {
		m, err := receive(c.conn)
		if err != nil {
			return kept, err
		}
		key := string(m.body)
		name, isState := strings.CutPrefix(key, statePrefix)
		switch {
		case m.kind == msgEnd:
			return kept, nil
		case m.kind != msgAdd || m.fd < 0:
			return kept, fmt.Errorf("unexpected message %q", m.kind)
		case isState:
			data, err := readState(m.fd)
			if err != nil {
				return kept, fmt.Errorf("read %s: %w", key, err)
			}
			kept.State[name] = data
		default:
			kept.Sockets = append(kept.Sockets, handover.Socket{Key: key, FD: m.fd})
		}
	}
}

// readState reads a memory file and closes it. Its offset is shared, so it is read by position.
func readState(fd int) ([]byte, error) {
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Size > maxState {
		return nil, fmt.Errorf("%d bytes are too many", st.Size)
	}
	data := make([]byte, st.Size)
	for done := 0; done < len(data); {
		n, err := unix.Pread(fd, data[done:], int64(done))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, errors.New("it ends early")
		}
		done += n
	}
	return data, nil
}

// Add keeps a duplicate of fd under key.
func (c *Child) Add(key string, fd int) error {
	if len(key) > maxKey {
		return fmt.Errorf("keep %q: the key is longer than %d", key, maxKey)
	}
	if err := c.send(message{kind: msgAdd, body: []byte(key), fd: fd}); err != nil {
		return fmt.Errorf("keep %q: %w", key, err)
	}
	return nil
}

// Remove drops what is kept under key.
func (c *Child) Remove(key string) error {
	return c.send(message{kind: msgRemove, body: []byte(key), fd: -1})
}

// Keep keeps data under key for the next child, in a sealed memory file that the supervisor does not look into.
func (c *Child) Keep(key string, data []byte) error {
	fd, err := unix.MemfdCreate("axle-"+key, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("keep state %q: %w", key, err)
	}
	f := os.NewFile(uintptr(fd), key)
	defer func() { _ = f.Close() }()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("keep state %q: %w", key, err)
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("keep state %q: seal: %w", key, err)
	}
	return c.Add(statePrefix+key, fd)
}

// Beat says that this process is alive. It has to come more often than the supervisor's Silence.
func (c *Child) Beat() error { return c.send(message{kind: msgBeat, fd: -1}) }

// Phase says what this process does now.
func (c *Child) Phase(p Phase) error {
	return c.send(message{kind: msgPhase, body: []byte{byte(p)}, fd: -1})
}

// Words explains the exit that follows.
func (c *Child) Words(s string) error {
	return c.send(message{kind: msgWords, body: []byte(s[:min(len(s), maxMessage-1)]), fd: -1})
}

// Watch calls term when the supervisor has been asked to end, with the time that is left, and returns when the
// supervisor is gone or Close was called.
func (c *Child) Watch(term func(grace time.Duration)) error {
	for {
		m, err := receive(c.conn)
		if err != nil {
			return fmt.Errorf("the supervisor is gone: %w", err)
		}
		if m.fd >= 0 {
			_ = unix.Close(m.fd)
		}
		if grace, ok := parseTerm(m.body); ok && m.kind == msgTerm {
			term(grace)
		}
	}
}

// Close ends Watch.
func (c *Child) Close() error { return c.conn.Close() }

func (c *Child) send(m message) error { return send(c.conn, c.now().Add(sendPatience), m) }
