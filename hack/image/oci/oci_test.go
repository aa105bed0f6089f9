package oci

import (
	"archive/tar"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func example() Image {
	return Image{
		Files: []File{
			{Path: "/app", Data: []byte("program")},
			{Path: "/etc/app/config", Data: []byte("a=b"), Mode: 0o640},
		},
		Labels: map[string]string{"version": "1"},
		Env:    []string{"A=b"},
		Arch:   "arm64",
	}
}

func TestBuildIsReproducible(t *testing.T) {
	var digests []string
	for range 3 {
		img, err := Build(example())
		if err != nil {
			t.Fatal(err)
		}
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest.String())
	}
	if digests[0] != digests[1] || digests[1] != digests[2] {
		t.Errorf("digests differ: %v", digests)
	}
}

func TestBuildConfig(t *testing.T) {
	img, err := Build(example())
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		Entrypoint: []string{"/app"},
		Env:        []string{"PATH=/usr/local/bin:/usr/bin:/bin:/", "A=b"},
		Labels:     map[string]string{"version": "1"},
		User:       Nonroot,
		WorkingDir: "/",
	}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if config.OS != "linux" || config.Architecture != "arm64" {
		t.Errorf("platform %s/%s", config.OS, config.Architecture)
	}
}

func TestBuildFiles(t *testing.T) {
	img, err := Build(example())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]os.FileMode{}
	stream := mutate.Extract(img)
	defer stream.Close()
	for r := tar.NewReader(stream); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[header.Name] = os.FileMode(header.Mode)
	}
	for path, mode := range map[string]os.FileMode{
		"tmp": 0o1777, "etc/passwd": 0o644, "app": 0o755, "etc/app": 0o755, "etc/app/config": 0o640, "home/nonroot": 0o700,
	} {
		if have, ok := got[path]; !ok || have != mode {
			if have, ok = got[path+"/"]; !ok || have != mode {
				t.Errorf("%s has mode %o, want %o", path, have, mode)
			}
		}
	}
}

func TestValidateReportsEverything(t *testing.T) {
	_, err := Build(Image{Files: []File{{Path: "app"}, {Path: "/a/../b"}}, Env: []string{"X"}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`"app"`, `"/a/../b"`, `"X"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not mention %s", err, want)
		}
	}
}

func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	one, err := Push(t.Context(), host+"/axle/app:1", example())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(one, host+"/axle/app@sha256:") {
		t.Errorf("reference %q", one)
	}
	again, err := Push(t.Context(), host+"/axle/app:2", example())
	if err != nil || again != one {
		t.Errorf("the same image again is %q, %v; want %q", again, err, one)
	}
	amd := example()
	amd.Arch = "amd64"
	both, err := Push(t.Context(), host+"/axle/app:both", example(), amd)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewDigest(both)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, d := range manifest.Manifests {
		platforms = append(platforms, d.Platform.String())
	}
	if diff := cmp.Diff([]string{"linux/arm64", "linux/amd64"}, platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	if _, err := Push(t.Context(), host+"/axle/app:none"); err == nil {
		t.Error("no error for no image")
	}
}

func TestLoad(t *testing.T) {
	img, err := Build(example())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	tag, err := name.NewTag("example.com/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(path, tag, img); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := img.ConfigName()
	if got, err := loaded.ConfigName(); err != nil || got != want {
		t.Errorf("config %s, %v; want %s", got, err, want)
	}
	if _, err := Load(path + "x"); err == nil {
		t.Error("no error for a file that is not there")
	}
}

func TestCompileIsReproducible(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{
		"go.mod": "module example.com/x\n\ngo 1.24\n", "main.go": "package main\n\nfunc main() {}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image, err := Program(t.Context(), dir, ".", "x", "")
	if err != nil {
		t.Fatal(err)
	}
	again, err := Program(t.Context(), dir, ".", "x", "")
	if err != nil {
		t.Fatal(err)
	}
	if string(image.Files[0].Data) != string(again.Files[0].Data) {
		t.Error("two builds differ")
	}
	if _, err := Compile(t.Context(), dir, "./nowhere", ""); err == nil {
		t.Error("no error for a package that does not exist")
	}
}
