package handshake

import (
	"crypto/fips140"
	"crypto/sha256"
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

// material is what a block names.
type material struct {
	config *tls.Config
	roots  *x509.CertPool // nil means the system's, and for a listener that it asks for no certificate
	rules  Rules
	stamp  string
}

// Rules tell whether two contexts let in the same peers.
type Rules [sha256.Size]byte

// Load reads what a block names that config has validated. server says that it is a listener's. Where the block waits for
// something, every handshake fails and says for what.
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

// Rules are those in force.
func (c *Context) Rules() Rules { return c.current.Load().rules }

// Permissive says that clients may speak without TLS, too.
func (c *Context) Permissive() bool { return c.block.Permissive }

// Missing says why there can be no handshake; nil when there can.
func (c *Context) Missing() error {
	if len(c.block.Waiting) == 0 {
		return nil
	}
	return fmt.Errorf("the control plane has not sent %s yet", strings.Join(c.block.Waiting, ", "))
}

// For says whether c is what Load would make of block.
func (c *Context) For(block *config.TLS) bool { return reflect.DeepEqual(c.block, *block) }

func (c *Context) files() []string {
	var all []string
	for _, p := range c.block.Certificates {
		all = append(all, p.Chain.File, p.Key.File)
	}
	return append(all, c.block.Trust.File)
}

// stamp is different when a file is. A volume that swaps a symbolic link changes what the name leads to.
func (c *Context) stamp() string {
	var stamp strings.Builder
	for _, f := range c.files() {
		if f == "" {
			continue
		}
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
	m.config = cfg
	if len(b.Waiting) > 0 {
		cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, c.Missing() }
		return m, nil
	}
	var errs []error
	for i := range b.Certificates {
		cert, err := pair(&b.Certificates[i])
		errs = append(errs, err)
		cfg.Certificates = append(cfg.Certificates, cert)
	}
	trust, err := c.trust(m)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	if len(cfg.Certificates) > 1 {
		cfg.GetCertificate, cfg.Certificates = choice(cfg.Certificates), nil
	}
	c.verifying(cfg, m)
	m.rules = Rules(sha256.Sum256(fmt.Appendf(nil, "%x %t %q %q", sha256.Sum256(trust), b.Optional, b.Name, b.Peers)))
	return m, nil
}

func pair(c *config.Certificate) (tls.Certificate, error) {
	chain, err := content(c.Chain)
	key, keyErr := content(c.Key)
	if err = errors.Join(err, keyErr); err == nil {
		var cert tls.Certificate
		if cert, err = tls.X509KeyPair(chain, key); err == nil {
			return cert, nil
		}
	}
	if c.Chain.File == "" {
		return tls.Certificate{}, fmt.Errorf("read the certificate of secret %q: %w", c.Chain.Secret, err)
	}
	return tls.Certificate{}, fmt.Errorf("read certificate %q with key %q: %w", c.Chain.File, c.Key.File, err)
}

// trust reads the roots, and returns the PEM that they are in.
func (c *Context) trust(m *material) ([]byte, error) {
	t := c.block.Trust
	if t.IsZero() {
		return nil, nil
	}
	pem, err := content(t)
	if m.roots = x509.NewCertPool(); err == nil && !m.roots.AppendCertsFromPEM(pem) {
		err = errors.New("there is no certificate in it")
	}
	if err != nil {
		return nil, fmt.Errorf("read trust %q: %w", t.File+t.Secret, err)
	}
	return pem, nil
}

func content(p config.PEM) ([]byte, error) {
	if p.File != "" {
		return os.ReadFile(p.File)
	}
	return p.Sent.Reveal(), nil
}

// verifying makes cfg check peers by Context's own rules, the same that Verify checks a chain by that came in a handover.
func (c *Context) verifying(cfg *tls.Config, m *material) {
	if c.server && m.roots == nil {
		return
	}
	cfg.ClientAuth = tls.RequireAnyClientCert
	if c.block.Optional {
		cfg.ClientAuth = tls.RequestClientCert
	}
	cfg.ClientCAs = m.roots       // named to clients, which choose by it
	cfg.InsecureSkipVerify = true // of crypto/tls's own check; ours follows
	cfg.VerifyConnection = func(state tls.ConnectionState) error { return c.check(m, state.PeerCertificates, false) }
}
