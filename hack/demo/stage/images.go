package stage

import (
	"context"
	"fmt"
	"runtime"

	"github.com/axlemesh/axle/hack/image/oci"
)

// images are references by digest.
type images struct {
	operator, peers string
	sidecars        map[string]string // by version
}

// buildImages compiles every program and pushes it. All sidecars are the same source; each says its own version.
func (s *Stage) buildImages(ctx context.Context) error {
	var err error
	if s.images.operator, err = s.push(ctx, "axle/operator:demo", "axle-operator", ".", Version{Name: "demo"}); err != nil {
		return err
	}
	if s.images.peers, err = s.push(ctx, "axle/peers:demo", "axle-peers", "./hack/peers/cmd/axle-peers", Version{Name: "demo"}); err != nil {
		return err
	}
	s.images.sidecars = map[string]string{}
	for _, v := range s.cfg.Versions {
		ref, err := s.push(ctx, sidecarRepository+":"+v.Name, "axle-sidecar", "./sidecar", v)
		if err != nil {
			return err
		}
		s.images.sidecars[v.Name] = ref
		note := ""
		if v.Break != "" {
			note = " (sabotaged: " + v.Break + ")"
		}
		fmt.Fprintf(s.cfg.Out, "  sidecar %s%s is %s\n", v.Name, note, ref)
	}
	return nil
}

const sidecarRepository = "axle/sidecar"

// push builds one program into an image. The label makes each version's digest its own.
func (s *Stage) push(ctx context.Context, repository, name, pkg string, v Version) (string, error) {
	flags := []string{"-ldflags=-s -w -buildid= -X main.build=" + v.Name}
	if v.Break != "" {
		flags = append(flags, "-tags=axle_break_"+v.Break)
	}
	img, err := oci.Program(ctx, s.cfg.Source, pkg, name, runtime.GOARCH, flags...)
	if err != nil {
		return "", err
	}
	img.Labels = map[string]string{"org.opencontainers.image.version": v.Name}
	return s.cfg.Cluster.Push(ctx, repository, img)
}
