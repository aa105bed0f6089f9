package app

import (
	"crypto/sha256"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/xds"
)

// TestACandidateRefusesToLoseAListener that another release serves and this one does not understand: nothing is taken over.
func TestACandidateRefusesToLoseAListener(t *testing.T) {
	listener, err := anypb.New(&listenerv3.Listener{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	body, err := proto.Marshal(&discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{{Name: "web", Resource: listener}}})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	lastGood := append(append([]byte("axle-xds\x01"), sum[:]...), body...)
	c := candidate{app: &app{xds: xds.New(xds.Config{})}}
	if _, err := c.inherit(lastGood); err == nil || !strings.Contains(err.Error(), `this version refuses what the serving process has`) ||
		!strings.Contains(err.Error(), `Listener "web": address`) {
		t.Errorf("it says %v", err)
	}
	if snap, err := c.inherit(nil); snap != nil || err != nil {
		t.Errorf("without a configuration of the serving process: %v", err)
	}
	if snap, err := (candidate{app: &app{}}).inherit(lastGood); snap == nil || err != nil {
		t.Errorf("without a control plane: %v", err)
	}
	later := append([]byte("axle-xds\x02"), lastGood...)
	if _, err := c.inherit(later); err == nil {
		t.Error("it takes over what it cannot read")
	}
	if snap, err := (candidate{app: &app{}}).inherit(later); snap != nil || err != nil {
		t.Errorf("without a control plane, and of a later format: %v", err)
	}
}

// TestBothSidesTakeParts: else a loop with many requests on HTTP/2 could not be handed over, and nothing would say why.
func TestBothSidesTakeParts(t *testing.T) {
	a := &app{boot: &bootstrap.Bootstrap{}}
	for side, features := range map[string]uint64{"donor": a.serveConfig(0).Features, "candidate": a.takeConfig(action{}).Features} {
		if features&handover.FeatureParts == 0 {
			t.Errorf("the %s does not say that it takes batches in parts", side)
		}
	}
}
