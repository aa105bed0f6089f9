// Command gen regenerates everything that is generated and committed: deepcopy
// functions, CRDs, the operator's RBAC, the control channel's Go, and the chart's
// templates that follow from config. Run it in the repository's root:
//
//	go run ./hack/gen
//
// What it writes is reproducible: `git diff --exit-code` afterwards says whether
// what is committed is fresh.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// tools are built from the module hack/tools, which pins them.
var tools = []string{
	"sigs.k8s.io/controller-tools/cmd/controller-gen",
	"google.golang.org/protobuf/cmd/protoc-gen-go",
	"google.golang.org/grpc/cmd/protoc-gen-go-grpc",
	"./protogen",
}

func run(ctx context.Context) (err error) {
	root, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the current folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(root, "hack", "gen", "main.go")); err != nil {
		return fmt.Errorf("not in the repository's root: %w", err)
	}
	bin, err := os.MkdirTemp("", "axle-gen")
	if err != nil {
		return fmt.Errorf("make a folder for the tools: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()

	build := append([]string{"build", "-o", bin + string(filepath.Separator)}, tools...)
	if err := command(ctx, filepath.Join(root, "hack", "tools"), "go", build...); err != nil {
		return err
	}
	controllerGen := filepath.Join(bin, "controller-gen")
	for _, args := range [][]string{
		{"object", "crd", "paths=./api/v1alpha1", "output:crd:dir=config/crd/bases"},
		{"rbac:roleName=axle-operator,fileName=role.yaml", "paths=./config/rbac;./controllers/...;./webhook/...", "output:rbac:dir=config/rbac"},
	} {
		if err := command(ctx, root, controllerGen, args...); err != nil {
			return err
		}
	}
	err = command(ctx, root, filepath.Join(bin, "protogen"), "-root", root, "-plugins", bin, "api/control/v1/control.proto")
	if err != nil {
		return err
	}
	return chart(filepath.Join(root, "config"), filepath.Join(root, "charts", "axle", "templates"))
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s %v: %w", filepath.Base(name), args, err)
	}
	return nil
}
