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
)

// lastGoodMagic starts an export; its last byte is the format's version.
var lastGoodMagic = []byte("axle-xds\x01")

// LastGood is every resource, as Import takes it.
type LastGood struct {
	// All goes to a successor, and to the supervisor's memory. It has keys in it.
	All []byte
	// Keyless lacks secrets, and what came with keys in it: it may go to a disk.
	Keyless []byte
}

// Export writes down every resource: magic, SHA-256 of the rest, and then a DeltaDiscoveryResponse whose resources are
// of all types.
func (s *Store) Export() (out LastGood, err error) {
	if out.All, err = s.export(true); err != nil {
		return out, err
	}
	out.Keyless, err = s.export(false)
	return out, err
}

func (s *Store) export(keys bool) ([]byte, error) {
	out := &discoveryv3.DeltaDiscoveryResponse{}
	for _, t := range all { // secrets last: what needs them is there then
		for _, name := range slices.Sorted(maps.Keys(s.types[t])) {
			if r := s.types[t][name]; keys || t != TypeSecret && !r.block().keys() {
				out.Resources = append(out.Resources, r.raw)
			}
		}
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(out)
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
	s.types, s.warming, s.refused = fresh.types, fresh.warming, fresh.refused
	return errors.Join(problem...), nil
}

// Read makes a store of an export: a candidate starts from its predecessor's with it. What this version does not understand is left
// out; Client.Lost names it.
func Read(lastGood []byte) (*Store, error) {
	s := NewStore()
	if _, err := s.Import(lastGood); err != nil {
		return nil, err
	}
	return s, nil
}
