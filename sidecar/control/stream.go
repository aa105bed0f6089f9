package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
)

// errFlushed ends Run after Flush.
var errFlushed = errors.New("the last report was sent")

type connectStream = grpc.BidiStreamingClient[controlv1.Report, controlv1.Command]

// stream opens Connect and works on it until it ends. It never returns nil.
func (c *Client) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := controlv1.NewControlClient(c.Conn()).Connect(ctx)
	if err != nil {
		return fmt.Errorf("open the control channel: %w", err)
	}
	commands, failed := make(chan *controlv1.Command), make(chan error, 1)
	go receive(ctx, stream, commands, failed) // ends with ctx
	if err := c.report(stream, c.hello()); err != nil {
		return ended(err, commands, failed)
	}
	renewal := time.NewTimer(c.untilRenewal())
	defer renewal.Stop()
	counters := time.NewTicker(countersEvery)
	defer counters.Stop()
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("control channel: %w", err)
		case cmd := <-commands:
			c.setConnected(true)
			c.obey(cmd)
		case <-c.changed:
			err = c.report(stream, nil)
		case <-counters.C:
			err = c.report(stream, nil)
		case done := <-c.flush:
			return c.finish(stream, done, commands, failed)
		case <-renewal.C:
			renewal.Reset(c.renewInStream(ctx))
		}
		if err != nil {
			return ended(err, commands, failed)
		}
	}
}

// ended finds out why a stream does not take reports any more: only receiving tells.
func ended(err error, commands <-chan *controlv1.Command, failed <-chan error) error {
	for errors.Is(err, io.EOF) {
		select {
		case <-commands:
		case err := <-failed:
			return fmt.Errorf("control channel: %w", err)
		}
	}
	return err
}

func receive(ctx context.Context, stream connectStream, to chan<- *controlv1.Command, failed chan<- error) {
	for {
		cmd, err := stream.Recv()
		if err != nil {
			failed <- err
			return
		}
		select {
		case to <- cmd:
		case <-ctx.Done():
			failed <- ctx.Err()
			return
		}
	}
}

// report sends the whole state.
func (c *Client) report(stream connectStream, hello *controlv1.Hello) error {
	state, handover := c.cfg.Report()
	if err := stream.Send(&controlv1.Report{Hello: hello, State: state, Handover: handover}); err != nil {
		return fmt.Errorf("report to the operator: %w", err)
	}
	return nil
}

// finish sends the last report and waits until the operator has closed its side, too: then it has read everything.
func (c *Client) finish(stream connectStream, done chan<- struct{}, commands <-chan *controlv1.Command, failed <-chan error) error {
	if err := c.report(stream, nil); err != nil {
		return ended(err, commands, failed)
	}
	if err := stream.CloseSend(); err != nil {
		return fmt.Errorf("end the control channel: %w", err)
	}
	for {
		select {
		case <-commands: // too late for this process
		case err := <-failed:
			close(done)
			if !errors.Is(err, io.EOF) {
				c.cfg.Log.Info("The operator ended the control channel with an error", "error", err.Error())
			}
			return errFlushed
		}
	}
}

// obey hands a command on.
func (c *Client) obey(cmd *controlv1.Command) {
	if pem := cmd.GetTrustBundle(); len(pem) > 0 {
		if err := c.trust.replace(pem); err != nil {
			c.cfg.Log.Error(err, "The operator's new trust bundle is ignored")
		} else {
			c.keep(KeepTrust, pem)
		}
	}
	if d := cmd.GetDesired(); d != nil {
		c.cfg.Desired(d)
	}
}

// renewInStream renews without disturbing the stream, and says when to come back.
func (c *Client) renewInStream(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := c.refresh(ctx); err != nil {
		c.cfg.Log.Info("The credential is not fresh; it is still good for a while", "error", err.Error(), "retry", renewRetry.String())
		return renewRetry
	}
	return max(renewRetry, c.untilRenewal())
}
