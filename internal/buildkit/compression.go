package buildkit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/moby/buildkit/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// descriptorKey is where BuildKit's image exporter says what it has made.
const descriptorKey = "containerimage.descriptor"

// gzipped says whether all layers of an image that was exported are compressed
// by gzip.
func gzipped(ctx context.Context, kit *client.Client, response map[string]string) (bool, error) {
	text, err := base64.StdEncoding.DecodeString(response[descriptorKey])
	if err != nil {
		return false, fmt.Errorf("read what was built: %w", err)
	}
	var d ocispecs.Descriptor
	if err := json.Unmarshal(text, &d); err != nil {
		return false, fmt.Errorf("read what was built: %w", err)
	}
	return layersGzipped(ctx, proxy.NewContentStore(kit.ContentClient()), d)
}

func layersGzipped(ctx context.Context, store content.Provider, d ocispecs.Descriptor) (bool, error) {
	body, err := content.ReadBlob(ctx, store, d)
	if err != nil {
		return false, fmt.Errorf("read manifest of what was built: %w", err)
	}
	var m struct{ Manifests, Layers []ocispecs.Descriptor }
	if err := json.Unmarshal(body, &m); err != nil {
		return false, fmt.Errorf("read manifest of what was built: %w", err)
	}
	for _, child := range m.Manifests {
		if child.Annotations["vnd.docker.reference.type"] != "" {
			continue // an attestation, which is no image
		}
		if ok, err := layersGzipped(ctx, store, child); !ok || err != nil {
			return false, err
		}
	}
	for _, l := range m.Layers {
		if images.IsLayerType(l.MediaType) && !strings.HasSuffix(l.MediaType, "gzip") {
			return false, nil
		}
	}
	return true, nil
}
