// Package defaults creates the SidecarVersion and the SidecarFleet that an installation starts with, once, if they are absent. Afterwards
// they belong to whoever edits them: nothing here ever changes or recreates an object that exists.
package defaults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// +kubebuilder:rbac:groups=axlemesh.io,resources=sidecarversions;sidecarfleets,verbs=get;create

const (
	retryAfter = 5 * time.Second
	maxObjects = 16
)

// Creator creates the objects of a file when the leader starts.
type Creator struct {
	Client client.Client
	File   string
	Clock  clock.Clock
	Log    logr.Logger
}

// NeedLeaderElection is true: one replica creates.
func (c *Creator) NeedLeaderElection() bool { return true }

// Start creates what is absent, trying again until it is there (the CRDs may not be served yet) or ctx ends. A file that cannot be read is
// an error; no file at all is none.
func (c *Creator) Start(ctx context.Context) error {
	if c.File == "" {
		return nil
	}
	raw, err := os.ReadFile(c.File)
	if errors.Is(err, os.ErrNotExist) {
		c.Log.Info("no defaults", "file", c.File)
		return nil
	}
	if err != nil {
		return fmt.Errorf("read defaults: %w", err)
	}
	objects, err := Parse(raw)
	if err != nil {
		return fmt.Errorf("defaults %q: %w", c.File, err)
	}
	for {
		if err = c.create(ctx, objects); err == nil {
			return nil
		}
		c.Log.Error(err, "defaults not created yet; trying again", "after", retryAfter.String())
		select {
		case <-ctx.Done():
			return nil
		case <-c.Clock.After(retryAfter):
		}
	}
}

func (c *Creator) create(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		err := c.Client.Create(ctx, o.DeepCopy())
		switch {
		case apierrors.IsAlreadyExists(err):
			c.Log.V(1).Info("default is there already", "kind", o.GetKind(), "name", o.GetName())
		case err != nil:
			return fmt.Errorf("create %s %q: %w", o.GetKind(), o.GetName(), err)
		default:
			c.Log.Info("default created", "kind", o.GetKind(), "name", o.GetName())
		}
	}
	return nil
}

// Parse reads the objects of a YAML file, in its order. Only the operator's own kinds may be in it.
func Parse(raw []byte) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	var all []*unstructured.Unstructured
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(o)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("object %d: %w", len(all)+1, err)
		}
		if len(o.Object) == 0 {
			continue
		}
		kind := o.GetKind()
		if o.GetAPIVersion() != axlev1.GroupVersion.String() || kind != "SidecarVersion" && kind != "SidecarFleet" || o.GetName() == "" {
			return nil, fmt.Errorf("object %d is %s %s %q; only named SidecarVersions and SidecarFleets are created", len(all)+1, o.GetAPIVersion(), kind, o.GetName())
		}
		if all = append(all, o); len(all) > maxObjects {
			return nil, fmt.Errorf("more than %d objects", maxObjects)
		}
	}
}
