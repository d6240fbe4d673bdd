package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/distribution/distribution/v3/registry/storage"
)

// PurgeUploads removes the uploads that began before t and were never
// finished, and says how many. Uploads whose digest turned out wrong are among
// them. One that a client is still sending is removed too, and fails for it.
// It reads every repository, so call it rarely.
func (r *Registry) PurgeUploads(ctx context.Context, t time.Time) (int, error) {
	if !r.enter() {
		return 0, errors.New("purge uploads: the registry is closed")
	}
	defer r.requests.Done()
	removed, errs := storage.PurgeUploads(ctx, r.backend.files, t, true)
	if err := errors.Join(errs...); err != nil {
		return len(removed), fmt.Errorf("purge uploads: %w", err)
	}
	return len(removed), nil
}
