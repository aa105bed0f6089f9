// Command protogen compiles .proto files and runs protoc-gen-go and
// protoc-gen-go-grpc on them. It does protoc's part in Go, so that regenerating
// needs nothing but the Go toolchain and this module.
//
//	protogen -root DIR -plugins DIR FILE.proto...
//
// FILEs are relative to root, and so is what is written.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	root := flag.String("root", ".", "folder that the files are relative to")
	plugins := flag.String("plugins", ".", "folder with protoc-gen-go and protoc-gen-go-grpc")
	flag.Parse()
	if err := run(context.Background(), *root, *plugins, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root, plugins string, files []string) error {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}}),
		SourceInfoMode: protocompile.SourceInfoStandard, // comments become Go comments
	}
	compiled, err := compiler.Compile(ctx, files...)
	if err != nil {
		return fmt.Errorf("compile %v: %w", files, err)
	}
	req := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: files,
		Parameter:      proto.String("paths=source_relative"),
	}
	seen := map[string]bool{}
	for _, file := range compiled {
		add(&req.ProtoFile, seen, file)
	}
	for _, name := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
		if err := generate(ctx, filepath.Join(plugins, name), root, req); err != nil {
			return err
		}
	}
	return nil
}

// add appends file after everything that it imports, as plugins expect.
func add(to *[]*descriptorpb.FileDescriptorProto, seen map[string]bool, file protoreflect.FileDescriptor) {
	if seen[file.Path()] {
		return
	}
	seen[file.Path()] = true
	for i := range file.Imports().Len() {
		add(to, seen, file.Imports().Get(i).FileDescriptor)
	}
	*to = append(*to, protoutil.ProtoFromFileDescriptor(file))
}

func generate(ctx context.Context, plugin, root string, req *pluginpb.CodeGeneratorRequest) error {
	in, err := proto.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode the request for %s: %w", plugin, err)
	}
	cmd := exec.CommandContext(ctx, plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("run %s: %w", plugin, err)
	}
	var res pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &res); err != nil {
		return fmt.Errorf("decode the answer of %s: %w", plugin, err)
	}
	if res.Error != nil {
		return fmt.Errorf("%s: %s", plugin, res.GetError())
	}
	for _, file := range res.GetFile() {
		path := filepath.Join(root, file.GetName())
		if err := os.WriteFile(path, []byte(file.GetContent()), 0o644); err != nil {
			return fmt.Errorf("write what %s made: %w", plugin, err)
		}
	}
	return nil
}
