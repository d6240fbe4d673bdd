//go:build linux

package engine

import (
	"context"
	"fmt"

	"acrd/internal/buildkit/control"

	"github.com/moby/buildkit/util/push"
)

// push sends what was built, by its digest: nothing is built or compressed
// again, and what the registry has is not sent.
func (r *run) push(ctx context.Context, p control.Push) (control.Pushed, error) {
	image, err := r.e.kit.images.Get(ctx, p.Name)
	if err != nil {
		return control.Pushed{}, fmt.Errorf("image of this run: %w", err)
	}
	content := r.e.kit.worker.ContentStore()
	target := image.Target
	hosts := registryHosts(r.e.config.PlainHTTP, r.e.config.Own, r.id)
	err = push.Push(in(ctx), r.e.kit.sessions, p.Session, content, content, target.Digest, p.Ref, p.Insecure, hosts, false, nil)
	if err != nil {
		return control.Pushed{}, err
	}
	return control.Pushed{Digest: target.Digest.String(), MediaType: target.MediaType, Size: target.Size}, nil
}
