package oci

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Push builds the images, one for each architecture, and pushes them as ref
// (registry/repository:tag). It returns the reference by digest,
// registry/repository@sha256:..., which is an index if there are several images.
// Credentials are those of the user's container configuration.
func Push(ctx context.Context, ref string, images ...Image) (string, error) {
	built := make([]v1.Image, 0, len(images))
	for _, i := range images {
		img, err := Build(i)
		if err != nil {
			return "", fmt.Errorf("push %q: %w", ref, err)
		}
		built = append(built, img)
	}
	return PushBuilt(ctx, ref, built...)
}

// PushBuilt pushes images that exist already; see Push.
func PushBuilt(ctx context.Context, ref string, images ...v1.Image) (string, error) {
	target, err := name.ParseReference(ref)
	if err != nil {
		return "", fmt.Errorf("push %q: %w", ref, err)
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	var digest v1.Hash
	switch len(images) {
	case 0:
		err = errors.New("no image")
	case 1:
		if err = remote.Write(target, images[0], options...); err == nil {
			digest, err = images[0].Digest()
		}
	default:
		var index v1.ImageIndex
		if index, err = newIndex(images); err == nil {
			err = remote.WriteIndex(target, index, options...)
		}
		if err == nil {
			digest, err = index.Digest()
		}
	}
	if err != nil {
		return "", fmt.Errorf("push %q: %w", ref, err)
	}
	return target.Context().Digest(digest.String()).String(), nil
}

// newIndex lists the images by their platforms.
func newIndex(images []v1.Image) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range images {
		config, err := img.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("read an image's config: %w", err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: config.OS, Architecture: config.Architecture}},
		})
	}
	return index, nil
}

// Load reads an image archive: a `docker save` tarball with one image, or a
// folder in the OCI layout, of which the first image is taken.
func Load(path string) (v1.Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load image: %w", err)
	}
	if !info.IsDir() {
		img, err := tarball.ImageFromPath(path, nil)
		if err != nil {
			return nil, fmt.Errorf("load image %q: %w", path, err)
		}
		return img, nil
	}
	index, err := layout.ImageIndexFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("load image %q: %w", path, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("load image %q: %w", path, err)
	}
	for _, d := range manifest.Manifests {
		if d.MediaType.IsImage() {
			return index.Image(d.Digest)
		}
	}
	return nil, fmt.Errorf("load image %q: its index lists no image", path)
}
