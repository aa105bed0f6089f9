// Package oci builds container images without a container engine: static
// programs on an empty base, the same bytes for the same input.
package oci

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Nonroot is the user that images run as unless they say otherwise.
const Nonroot = "65532:65532"

// created is the time stamp of everything: reproducible images have no date.
var created = time.Unix(0, 0).UTC()

// Image says what is in an image. The zero value is the empty base.
type Image struct {
	Files      []File            // added on top of the base, in one layer
	Entrypoint []string          // default: the first file's path
	Cmd        []string          // default arguments
	Env        []string          // NAME=value
	Labels     map[string]string // of the image's config
	User       string            // uid:gid; default Nonroot
	OS         string            // default linux
	Arch       string            // default amd64
}

// File is one file of an image.
type File struct {
	Path string      // absolute, inside the image
	Data []byte      // its content
	Mode os.FileMode // permission bits; default 0755
}

// Validate reports everything that is wrong with the image's description.
func (i Image) Validate() error {
	var errs []error
	for n, f := range i.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path {
			errs = append(errs, fmt.Errorf("file %d: path %q is not absolute and clean", n, f.Path))
		}
	}
	for _, env := range i.Env {
		if !strings.Contains(env, "=") {
			errs = append(errs, fmt.Errorf("env %q: no value", env))
		}
	}
	return errors.Join(errs...)
}

// Build assembles the image.
func Build(i Image) (v1.Image, error) {
	if err := i.Validate(); err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	layers := [][]entry{base()}
	if len(i.Files) > 0 {
		layers = append(layers, withParents(i.Files))
	}
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	for _, entries := range layers {
		layer, err := pack(entries)
		if err != nil {
			return nil, err
		}
		img, err = mutate.Append(img, mutate.Addendum{
			Layer: layer, MediaType: types.OCILayer,
			History: v1.History{Created: v1.Time{Time: created}, CreatedBy: "axle hack/image"},
		})
		if err != nil {
			return nil, fmt.Errorf("build image: add a layer: %w", err)
		}
	}
	return configure(img, i)
}

// configure writes the image's config. A runtime ignores an image whose
// architecture or system is empty.
func configure(img v1.Image, i Image) (v1.Image, error) {
	have, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("build image: read its config: %w", err)
	}
	config := have.DeepCopy()
	config.Created = v1.Time{Time: created}
	config.OS = orElse(i.OS, "linux")
	config.Architecture = orElse(i.Arch, "amd64")
	config.Config = v1.Config{
		Entrypoint: i.Entrypoint,
		Cmd:        i.Cmd,
		Env:        append([]string{"PATH=/usr/local/bin:/usr/bin:/bin:/"}, i.Env...),
		Labels:     maps.Clone(i.Labels),
		User:       orElse(i.User, Nonroot),
		WorkingDir: "/",
	}
	if len(i.Entrypoint) == 0 && len(i.Files) > 0 {
		config.Config.Entrypoint = []string{i.Files[0].Path}
	}
	img, err = mutate.ConfigFile(img, config)
	if err != nil {
		return nil, fmt.Errorf("build image: write its config: %w", err)
	}
	return img, nil
}

func orElse(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// entry is one member of a layer; a nil data is a folder.
type entry struct {
	path string
	mode int64
	data []byte
	uid  int
}

// base is what programs expect of any system: users and a place for temporary files.
func base() []entry {
	return []entry{
		{path: "etc/", mode: 0o755},
		{path: "etc/group", mode: 0o644, data: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{path: "etc/nsswitch.conf", mode: 0o644, data: []byte("hosts: files dns\n")},
		{path: "etc/passwd", mode: 0o644, data: []byte(
			"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")},
		{path: "home/", mode: 0o755},
		{path: "home/nonroot/", mode: 0o700, uid: 65532},
		{path: "tmp/", mode: 0o1777},
	}
}

// withParents lists the files and the folders above them, parents first.
func withParents(files []File) []entry {
	all := map[string]entry{}
	for _, f := range files {
		name := strings.TrimPrefix(f.Path, "/")
		mode := int64(f.Mode.Perm())
		if mode == 0 {
			mode = 0o755
		}
		data := f.Data
		if data == nil {
			data = []byte{}
		}
		all[name] = entry{path: name, mode: mode, data: data}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			all[dir+"/"] = entry{path: dir + "/", mode: 0o755}
		}
	}
	for _, e := range base() {
		if _, ok := all[e.path]; ok && e.data == nil {
			all[e.path] = e // a folder of the base keeps its mode and owner
		}
	}
	out := make([]entry, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[name])
	}
	return out
}

// pack writes the entries as a layer.
func pack(entries []entry) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		header := &tar.Header{
			Name: e.path, Mode: e.mode, Uid: e.uid, Gid: e.uid, ModTime: created,
			Typeflag: tar.TypeReg, Size: int64(len(e.data)), Format: tar.FormatPAX,
		}
		if e.data == nil {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("pack %s: %w", e.path, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, fmt.Errorf("pack %s: %w", e.path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack a layer: %w", err)
	}
	data := buf.Bytes()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("pack a layer: %w", err)
	}
	return layer, nil
}
