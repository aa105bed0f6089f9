package control

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// Timing of the connection. The operator's keepalive policy has to allow pings that often.
const (
	pingAfter   = 30 * time.Second
	pingTimeout = 10 * time.Second
)

// trust is the set of certificates that the operator's has to chain to. It can be replaced while connections are open;
// the next one is checked against the new set.
type trust struct {
	name string
	now  func() time.Time
	pool atomic.Pointer[x509.CertPool]
}

func (t *trust) replace(pem []byte) error {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return errors.New("the trust bundle holds no certificate")
	}
	t.pool.Store(pool)
	return nil
}

// config checks the operator's certificate by itself, because a tls.Config's own roots cannot be replaced.
func (t *trust) config() *tls.Config {
	return &tls.Config{
		ServerName:         t.name,
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{"h2"},
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection:   t.verify,
	}
}

func (t *trust) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the operator sent no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
		DNSName: t.name, Roots: t.pool.Load(), Intermediates: between, CurrentTime: t.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("the operator's certificate: %w", err)
	}
	return nil
}

// dial makes the one connection to the operator. It connects when it is first used, and again whenever it is lost.
func dial(address string, t *trust) (*grpc.ClientConn, error) {
	return grpc.NewClient(address,
		grpc.WithTransportCredentials(credentials.NewTLS(t.config())),
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 250 * time.Millisecond, Multiplier: 1.6, Jitter: 0.3, MaxDelay: 10 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
	)
}

// bearerConn adds the credential to every call, and makes a call wait until there is one.
type bearerConn struct {
	*grpc.ClientConn
	creds credentials.PerRPCCredentials
}

// Invoke makes a unary call.
func (c bearerConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.ClientConn.Invoke(ctx, method, args, reply, append(opts, grpc.PerRPCCredentials(c.creds))...)
}

// NewStream opens a stream.
func (c bearerConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.ClientConn.NewStream(ctx, desc, method, append(opts, grpc.PerRPCCredentials(c.creds))...)
}
