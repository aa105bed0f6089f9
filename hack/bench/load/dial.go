package load

import (
	"crypto/tls"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/hack/bench/certs"
	"github.com/axlemesh/axle/hack/bench/epoll"
)

// dialer opens connections of one protocol.
type dialer struct {
	client func() client
	tls    *tls.Config // nil without TLS
	input  int         // the size of a read buffer
}

func newDialer(p Protocol, size int, folder string) (dialer, error) {
	s, err := newSides(p, size)
	if err != nil {
		return dialer{}, err
	}
	d := dialer{client: s.client, input: inputSize}
	if p == TLS {
		d.tls, err = clientTLS(folder)
	}
	return d, err
}

// dial opens a connection from a local address, any when from is empty, and puts into Out what a client says first. The
// socket blocks still.
func (d dialer) dial(from, addr string) (*epoll.Conn, client, error) {
	fd, err := epoll.Dial(from, addr)
	if err != nil {
		return nil, nil, err
	}
	c := epoll.NewConn(fd, d.input)
	if d.tls != nil {
		if c, err = epoll.Secure(fd, d.input, func(raw net.Conn) *tls.Conn { return tls.Client(raw, d.tls) }); err != nil {
			_ = unix.Close(fd)
			return nil, nil, fmt.Errorf("dial %s: %w", addr, err)
		}
		if state, _ := c.State(); state.CipherSuite != suite {
			_ = unix.Close(fd)
			return nil, nil, fmt.Errorf("dial %s: agreed on %s, and all proxies have to use %s", addr, tls.CipherSuiteName(state.CipherSuite), tls.CipherSuiteName(suite))
		}
	}
	talk := d.client()
	c.Out = talk.Hello(c.Out)
	return c, talk, nil
}

// suite is what every proxy has to use, so that they are compared and not ciphers.
const suite = tls.TLS_AES_128_GCM_SHA256

func clientTLS(folder string) (*tls.Config, error) {
	pool, err := certs.Pool(folder)
	if err != nil {
		return nil, err
	}
	return &tls.Config{RootCAs: pool, ServerName: Host, MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true}, nil
}

func serverTLS(folder string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certs.In(folder).Chain, certs.In(folder).Key)
	if err != nil {
		return nil, fmt.Errorf("certificate of the server: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true, SessionTicketsDisabled: true,
	}, nil
}
