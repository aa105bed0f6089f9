package stage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/cluster/binaries"
)

// release is the Helm release's name.
const release = "axle"

// install installs the chart as a user does.
func (s *Stage) install(ctx context.Context) error {
	first := s.cfg.Versions[0].Name
	args := []string{
		"upgrade", "--install", release, filepath.Join(s.cfg.Source, "charts", "axle"),
		"--namespace", s.cfg.Namespace, "--create-namespace", "--wait", "--timeout", Patience.String(),
		"--set", "operator.image=" + s.images.operator,
		"--set", "sidecar.image=" + s.images.sidecars[first],
		"--set", "sidecar.version=" + first,
	}
	for _, f := range s.cfg.Fleet {
		args = append(args, "--set-json", "fleet.spec."+f)
	}
	return s.helm(ctx, args...)
}

// Uninstall removes the release; what users own stays, as the chart says.
func (s *Stage) Uninstall(ctx context.Context) error {
	return s.helm(ctx, "uninstall", release, "--namespace", s.cfg.Namespace, "--wait")
}

func (s *Stage) helm(ctx context.Context, args ...string) error {
	programs, err := binaries.Builder{Out: s.cfg.Out, Clock: s.cfg.Clock}.Build(ctx, "helm")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, programs["helm"], args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.cfg.Cluster.Kubeconfig())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("helm %s: %w\n%s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// createVersions creates what the chart did not. On a cluster that was kept they may exist; they never change.
func (s *Stage) createVersions(ctx context.Context) error {
	for _, v := range s.cfg.Versions {
		obj := &axlev1.SidecarVersion{
			ObjectMeta: metav1.ObjectMeta{Name: v.Name},
			Spec: axlev1.SidecarVersionSpec{
				Image: s.images.sidecars[v.Name], Protocols: []axlev1.Protocol{axlev1.ProtocolTCP, axlev1.ProtocolBolt, axlev1.ProtocolDubbo, axlev1.ProtocolHTTP1, axlev1.ProtocolHTTP2},
			},
		}
		err := s.kinds.Create(ctx, obj)
		if apierrors.IsAlreadyExists(err) {
			have := &axlev1.SidecarVersion{}
			if err = s.kinds.Get(ctx, client.ObjectKeyFromObject(obj), have); err == nil && have.Spec.Image != obj.Spec.Image {
				err = fmt.Errorf("this cluster has it with image %s, not %s: it was built from another source", have.Spec.Image, obj.Spec.Image)
			}
		}
		if err != nil {
			return fmt.Errorf("create SidecarVersion %s: %w", v.Name, err)
		}
	}
	return nil
}

// awaitFleet waits until the operator has created the fleet.
func (s *Stage) awaitFleet(ctx context.Context) error {
	return s.poll(ctx, "the operator has created the fleet", func() (bool, error) {
		_, err := s.fleet(ctx)
		return err == nil, client.IgnoreNotFound(err)
	})
}

func (s *Stage) fleet(ctx context.Context) (*axlev1.SidecarFleet, error) {
	f := &axlev1.SidecarFleet{}
	return f, s.kinds.Get(ctx, client.ObjectKey{Name: FleetName}, f)
}

// SetVersion patches the fleet's version, as kubectl patch does.
func (s *Stage) SetVersion(ctx context.Context, version string) error {
	patch := fmt.Appendf(nil, `{"spec":{"version":%q}}`, version)
	f := &axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: FleetName}}
	if err := s.kinds.Patch(ctx, f, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("patch SidecarFleet %s to version %s: %w", FleetName, version, err)
	}
	return nil
}
