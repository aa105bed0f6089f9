package handshake

import (
	"crypto/fips140"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync/atomic"

	record "github.com/axlemesh/axle/sidecar/codec/tls"
	"github.com/axlemesh/axle/sidecar/config"
)

// Context is what the handshakes of one listener or cluster begin with. Its files are read by Load and, when they have
// changed, by Refresh; handshakes that have begun keep what they began with.
type Context struct {
	block   config.TLS
	server  bool
	current atomic.Pointer[material]
	failed  string // the stamp of files that are of no use; only Refresh touches it
}

// material is the content of the files.
type material struct {
	config *tls.Config
	roots  *x509.CertPool // nil means the system's, and for a listener that it asks for no certificate
	stamp  string
}

// Load reads the files of a block that config has validated. server says that it is a listener's.
func Load(block *config.TLS, server bool) (*Context, error) {
	if fips140.Enforced() {
		return nil, record.ErrFIPS
	}
	c := &Context{block: *block, server: server}
	m, err := c.load()
	if err != nil {
		return nil, err
	}
	c.current.Store(m)
	return c, nil
}

// Refresh reads the files again if one has changed, and says whether they are used from now on. On an error what was read
// before stays; it is reported once for each change.
func (c *Context) Refresh() (changed bool, err error) {
	stamp := c.stamp()
	if stamp == c.current.Load().stamp || stamp == c.failed {
		return false, nil
	}
	m, err := c.load()
	if err != nil {
		c.failed = stamp
		return false, err
	}
	c.failed = ""
	c.current.Store(m)
	return true, nil
}

// Config is for the next handshake. It is shared and must not be changed.
func (c *Context) Config() *tls.Config { return c.current.Load().config }

// Permissive says that clients may speak without TLS, too.
func (c *Context) Permissive() bool { return c.block.Permissive }

// For says whether c is what Load would make of block.
func (c *Context) For(block *config.TLS) bool { return reflect.DeepEqual(c.block, *block) }

func (c *Context) files() []string {
	var all []string
	for _, f := range []string{c.block.Certificate, c.block.Key, c.block.Trust} {
		if f != "" {
			all = append(all, f)
		}
	}
	return all
}

// stamp is different when a file is. A volume that swaps a symbolic link changes what the name leads to.
func (c *Context) stamp() string {
	var stamp strings.Builder
	for _, f := range c.files() {
		if info, err := os.Stat(f); err == nil {
			fmt.Fprintf(&stamp, "%d %d", info.ModTime().UnixNano(), info.Size())
		}
		stamp.WriteByte(';')
	}
	return stamp.String()
}

func (c *Context) load() (*material, error) {
	b := &c.block
	m := &material{stamp: c.stamp()} // before the files are read: what changes meanwhile is read again
	cfg := &tls.Config{
		MinVersion: max(b.MinVersion, tls.VersionTLS12), CipherSuites: record.Suites12(), NextProtos: b.ALPN, ServerName: b.Name,
		// A ticket of ours would be a record that we have to count, and a resumed peer's certificate one that nobody checks.
		SessionTicketsDisabled: true,
	}
	var errs []error
	if b.Certificate != "" {
		cert, err := tls.LoadX509KeyPair(b.Certificate, b.Key)
		if err != nil {
			errs = append(errs, fmt.Errorf("read certificate %q with key %q: %w", b.Certificate, b.Key, err))
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	if b.Trust != "" {
		pem, err := os.ReadFile(b.Trust)
		if m.roots = x509.NewCertPool(); err == nil && !m.roots.AppendCertsFromPEM(pem) {
			err = errors.New("there is no certificate in it")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read trust %q: %w", b.Trust, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c.verifying(cfg, m)
	m.config = cfg
	return m, nil
}

// verifying makes cfg check peers by Context's own rules, the same that Verify checks a chain by that came in a handover.
func (c *Context) verifying(cfg *tls.Config, m *material) {
	if c.server && m.roots == nil {
		return
	}
	cfg.ClientAuth = tls.RequireAnyClientCert
	cfg.ClientCAs = m.roots       // named to clients, which choose by it
	cfg.InsecureSkipVerify = true // of crypto/tls's own check; ours follows
	cfg.VerifyConnection = func(state tls.ConnectionState) error { return c.check(m, state.PeerCertificates) }
}
