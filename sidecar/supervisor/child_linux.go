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
		m, err := Receive(c.conn)
		if err != nil {
			return kept, err
		}
		key := string(m.Body)
		name, isState := strings.CutPrefix(key, StatePrefix)
		switch {
		case m.Kind == KindEnd:
			return kept, nil
		case m.Kind != KindAdd || m.FD < 0:
			return kept, fmt.Errorf("unexpected message %q", m.Kind)
		case isState:
			data, err := readState(m.FD)
			if err != nil {
				return kept, fmt.Errorf("read %s: %w", key, err)
			}
			kept.State[name] = data
		default:
			kept.Sockets = append(kept.Sockets, handover.Socket{Key: key, FD: m.FD})
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
	if err := c.send(Message{Kind: KindAdd, Body: []byte(key), FD: fd}); err != nil {
		return fmt.Errorf("keep %q: %w", key, err)
	}
	return nil
}

// Remove drops what is kept under key.
func (c *Child) Remove(key string) error {
	return c.send(Message{Kind: KindRemove, Body: []byte(key), FD: -1})
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
	return c.Add(StatePrefix+key, fd)
}

// Beat says that this process is alive. It has to come more often than the supervisor's Silence.
func (c *Child) Beat() error { return c.send(Message{Kind: KindBeat, FD: -1}) }

// Phase says what this process does now.
func (c *Child) Phase(p Phase) error {
	return c.send(Message{Kind: KindPhase, Body: []byte{byte(p)}, FD: -1})
}

// Words explains the exit that follows.
func (c *Child) Words(s string) error {
	return c.send(Message{Kind: KindWords, Body: []byte(s[:min(len(s), maxMessage-1)]), FD: -1})
}

// Watch calls term when the supervisor has been asked to end, with the time that is left, and leave when nobody is to serve here any
// more. It returns when the supervisor is gone or Close was called.
func (c *Child) Watch(term func(grace time.Duration), leave func()) error {
	for {
		m, err := Receive(c.conn)
		if err != nil {
			return fmt.Errorf("the supervisor is gone: %w", err)
		}
		if m.FD >= 0 {
			_ = unix.Close(m.FD)
		}
		if grace, ok := parseTerm(m.Body); ok && m.Kind == KindTerm {
			term(grace)
		}
		if m.Kind == KindLeave {
			leave()
		}
	}
}

// Close ends Watch.
func (c *Child) Close() error { return c.conn.Close() }

func (c *Child) send(m Message) error { return Send(c.conn, c.now().Add(sendPatience), m) }
