package xds

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/axlemesh/axle/sidecar/config"
)

// lastGoodMagic starts an export; its last byte is the format's version.
var lastGoodMagic = []byte("axle-xds\x01")

// Export writes down every resource: magic, SHA-256 of the rest, and then a DeltaDiscoveryResponse whose resources are
// of all types. It goes to a successor, to the supervisor, or into a file.
func (s *Store) Export() ([]byte, error) {
	all := &discoveryv3.DeltaDiscoveryResponse{}
	for _, t := range Types {
		for _, name := range slices.Sorted(maps.Keys(s.types[t])) {
			all.Resources = append(all.Resources, s.types[t][name].raw)
		}
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("export the last good configuration: %w", err)
	}
	sum := sha256.Sum256(body)
	return slices.Concat(lastGoodMagic, sum[:], body), nil
}

// Import replaces everything by an export. On an error the store is as it was. A resource that this version does not
// understand is left out and named in problems: the server will send it again.
func (s *Store) Import(b []byte) (problems, err error) {
	rest, ok := bytes.CutPrefix(b, lastGoodMagic)
	if !ok || len(rest) < sha256.Size {
		return nil, errors.New("import the last good configuration: it is no export of a known version")
	}
	body := rest[sha256.Size:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], rest[:sha256.Size]) {
		return nil, errors.New("import the last good configuration: its checksum does not match")
	}
	all := &discoveryv3.DeltaDiscoveryResponse{}
	if err := proto.Unmarshal(body, all); err != nil {
		return nil, fmt.Errorf("import the last good configuration: %w", err)
	}
	fresh := NewStore()
	var problem []error
	for _, r := range all.GetResources() {
		_, err := fresh.Update(r.GetResource().GetTypeUrl(), []*discoveryv3.Resource{r}, nil)
		problem = append(problem, err)
	}
	s.types = fresh.types
	return errors.Join(problem...), nil
}

// Decode turns an export into a configuration, without a client: a candidate starts from its predecessor's with it.
func Decode(lastGood []byte) (*config.Snapshot, error) {
	s := NewStore()
	if _, err := s.Import(lastGood); err != nil {
		return nil, err
	}
	snap, _ := s.Snapshot() // what is left out was left out before
	return snap, snap.Validate()
}
