package peers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/axlemesh/axle/hack/bench/certs"
	"github.com/axlemesh/axle/hack/bench/load"
)

// Place is where a peer runs.
type Place struct {
	// Dir is a folder of its own.
	Dir string
	// Listen and Server are addresses.
	Listen, Server string
	// Certs is the folder of the certificates.
	Certs string
}

// expand fills in what a configuration leaves open.
func (p Place) expand(config string) string {
	f := certs.In(p.Certs)
	return strings.NewReplacer("DIR", p.Dir, "LISTEN", p.Listen, "SERVER", p.Server, "HOST", load.Host,
		"CHAIN", f.Chain, "KEY", f.Key, "BOTH", f.Both, "AUTHORITY", f.CA).Replace(config)
}

func (p Place) write(name, config string) (string, error) {
	path := filepath.Join(p.Dir, name)
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return "", fmt.Errorf("folder of a peer: %w", err)
	}
	if err := os.WriteFile(path, []byte(p.expand(config)), 0o600); err != nil {
		return "", fmt.Errorf("write a peer's configuration: %w", err)
	}
	return path, nil
}
