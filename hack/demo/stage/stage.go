// Package stage puts the story on a real cluster: images, the Helm release, the application's pods, and a look at all of
// them through the API server alone, so that it works on any cluster.
package stage

import (
	"context"
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/cluster/node"
	"github.com/axlemesh/axle/hack/cluster/progress"
)

// Config of a Stage.
type Config struct {
	Cluster *node.Cluster
	// Source is the root of the tree that images are built from; the working directory by default.
	Source string
	// Versions of the sidecar; the first is the one that the chart installs.
	Versions []Version
	// Namespace of the Helm release; "axle-system" by default.
	Namespace string
	// Fleet is more of the spec of the SidecarFleet, as Helm's --set-json takes it: "updateStrategy={...}".
	Fleet []string
	Out   io.Writer
	Clock clock.WithTicker
}

// Version is one build of the sidecar.
type Version struct {
	// Name of the SidecarVersion.
	Name string
	// Break sabotages the build: drop, reset, dup, split, exit, or nothing.
	Break string
}

// FleetName is the fleet that the chart creates.
const FleetName = "default"

// Patience is how long the parts of the installation may take to become ready.
const Patience = 3 * time.Minute

// Stage is a cluster with Axle installed. Make it with Prepare.
type Stage struct {
	cfg    Config
	images images
	core   kubernetes.Interface
	kinds  client.Client
}

// Prepare builds the images, installs the chart, creates the versions and waits for the fleet.
func Prepare(ctx context.Context, cfg Config) (*Stage, error) {
	if cfg.Namespace == "" {
		cfg.Namespace = "axle-system"
	}
	if cfg.Source == "" {
		cfg.Source = "."
	}
	s := &Stage{cfg: cfg}
	if err := s.connect(); err != nil {
		return nil, err
	}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"build and push the images", s.buildImages},
		{"helm install axle charts/axle", s.install},
		{"create the sidecar versions", s.createVersions},
		{"wait for the fleet", s.awaitFleet},
	} {
		if err := progress.Step(cfg.Out, cfg.Clock, step.name, nil, func() error { return step.run(ctx) }); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return s, nil
}

// Core is a client for Kubernetes' own kinds.
func (s *Stage) Core() kubernetes.Interface { return s.core }

// Kinds is a client for Axle's kinds, too.
func (s *Stage) Kinds() client.Client { return s.kinds }

// Namespace of the operator.
func (s *Stage) Namespace() string { return s.cfg.Namespace }

func (s *Stage) connect() error {
	config, err := s.cfg.Cluster.RESTConfig()
	if err != nil {
		return err
	}
	if s.core, err = s.cfg.Cluster.Client(); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return fmt.Errorf("make a scheme: %w", err)
	}
	if err := axlev1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("make a scheme: %w", err)
	}
	if s.kinds, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	return nil
}

// poll calls done every interval until it says so, for at most Patience.
func (s *Stage) poll(ctx context.Context, what string, done func() (bool, error)) error {
	if err := progress.Poll(ctx, s.cfg.Clock, 500*time.Millisecond, Patience, done); err != nil {
		return fmt.Errorf("wait until %s: %w", what, err)
	}
	return nil
}
