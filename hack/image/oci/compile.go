package oci

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Compile builds one Go program as a static binary and returns it. pkg is an
// import path or a folder, as the go command takes it in dir ("" is the current
// one); the same source gives the same bytes on every machine.
func Compile(ctx context.Context, dir, pkg, arch string, flags ...string) ([]byte, error) {
	scratch, err := os.MkdirTemp("", "axle-image-")
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", pkg, err)
	}
	defer os.RemoveAll(scratch)
	out := filepath.Join(scratch, "program")
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+orElse(arch, "amd64"))
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %s: %w\n%s", pkg, err, strings.TrimSpace(string(text)))
	}
	data, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", pkg, err)
	}
	return data, nil
}

// Program is the usual image: one Go program at /NAME, its entrypoint.
func Program(ctx context.Context, dir, pkg, name, arch string, flags ...string) (Image, error) {
	data, err := Compile(ctx, dir, pkg, arch, flags...)
	if err != nil {
		return Image{}, err
	}
	return Image{Files: []File{{Path: "/" + name, Data: data}}, Arch: arch}, nil
}
