// Command image builds an OCI image from a Go package, without a container
// engine, pushes it, and prints its reference by digest:
//
//	go run ./hack/image -to 127.0.0.1:15000/axle/operator:dev .
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"runtime"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/axlemesh/axle/hack/image/oci"
)

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

type options struct {
	to, program, arch, user, tags, ldflags string
	labels, env, cmd                       list
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.StringVar(&o.to, "to", "", "where to push: registry/repository:tag")
	flag.StringVar(&o.program, "program", "", "path of the program inside the image (default /NAME-OF-REPOSITORY)")
	flag.StringVar(&o.arch, "arch", runtime.GOARCH, "architectures, comma separated; several make an index")
	flag.StringVar(&o.user, "user", oci.Nonroot, "uid:gid to run as")
	flag.StringVar(&o.tags, "tags", "", "build tags, comma separated")
	flag.StringVar(&o.ldflags, "ldflags", "", "more linker flags, such as -X package.variable=value")
	flag.Var(&o.labels, "label", "NAME=value, repeatable")
	flag.Var(&o.env, "env", "NAME=value, repeatable")
	flag.Var(&o.cmd, "cmd", "default argument, repeatable")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: image -to REGISTRY/REPOSITORY:TAG [flags] PACKAGE")
		flag.PrintDefaults()
	}
	flag.Parse()
	ref, err := run(ctx, o, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
	fmt.Println(ref)
}

func run(ctx context.Context, o options, args []string) (string, error) {
	if len(args) != 1 || o.to == "" {
		return "", errors.New("give -to REGISTRY/REPOSITORY:TAG and one package")
	}
	target, err := name.ParseReference(o.to)
	if err != nil {
		return "", fmt.Errorf("read -to %q: %w", o.to, err)
	}
	if o.program == "" {
		o.program = "/" + path.Base(target.Context().RepositoryStr())
	}
	labels, err := pairs(o.labels)
	if err != nil {
		return "", err
	}
	flags := []string{"-ldflags=" + strings.TrimSpace("-s -w -buildid= "+o.ldflags)}
	if o.tags != "" {
		flags = append(flags, "-tags="+o.tags)
	}
	var images []oci.Image
	for arch := range strings.SplitSeq(o.arch, ",") {
		data, err := oci.Compile(ctx, "", args[0], arch, flags...)
		if err != nil {
			return "", err
		}
		images = append(images, oci.Image{
			Files: []oci.File{{Path: o.program, Data: data}},
			Arch:  arch, User: o.user, Env: o.env, Cmd: o.cmd, Labels: labels,
		})
	}
	return oci.Push(ctx, o.to, images...)
}

func pairs(values []string) (map[string]string, error) {
	out := map[string]string{}
	for _, v := range values {
		key, value, ok := strings.Cut(v, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("read label %q: it is not NAME=value", v)
		}
		out[key] = value
	}
	return out, nil
}
