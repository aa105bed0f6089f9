package sidecarversion

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// digestOf returns the digest that an image reference carries; "" when it names a tag.
func digestOf(image string) (string, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return "", err
	}
	if d, ok := ref.(name.Digest); ok {
		return d.DigestStr(), nil
	}
	return "", nil
}

// Registry asks registries for the digests of tags, without credentials.
type Registry struct {
	// Insecure registries (host or host:port) are asked over plain HTTP; all others over TLS only.
	Insecure []string
}

// Digest asks the registry which digest the tag of image has now.
func (r Registry) Digest(ctx context.Context, image string) (string, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return "", fmt.Errorf("image %q: %w", image, err)
	}
	if slices.Contains(r.Insecure, ref.Context().RegistryStr()) {
		if ref, err = name.ParseReference(image, name.Insecure); err != nil {
			return "", fmt.Errorf("image %q: %w", image, err)
		}
	}
	d, err := remote.Head(ref, remote.WithContext(ctx))
	if err != nil {
		return "", fmt.Errorf("ask the registry of image %q for its digest: %w", image, err)
	}
	return d.Digest.String(), nil
}
