package slot

import (
	"errors"
	"time"

	"github.com/axlemesh/axle/sidecar/supervisor"
)

// maxReady bounds how long a slot may keep its pod from starting.
const maxReady = 5 * time.Second

// Ready returns when the slot called name serves, waits to take over, or idles, and after 5 s at the latest. The error says why it is
// not known to; nobody should stop a pod for it.
func Ready(d Dir, name string, now func() time.Time) error {
	deadline := now().Add(maxReady)
	for {
		err := ask(d.Socket(name), deadline)
		if err == nil {
			return nil
		}
		if !now().Add(settledLook).Before(deadline) {
			return err
		}
		t := time.NewTimer(settledLook)
		<-t.C
	}
}

func ask(path string, deadline time.Time) error {
	conn, err := dial(path)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := supervisor.Send(conn, deadline, supervisor.Message{Kind: kindAsk, FD: -1}); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	m, err := supervisor.Receive(conn)
	if err == nil && m.Kind != kindSettled {
		err = errors.New("the slot's supervisor does not understand the question")
	}
	return err
}
