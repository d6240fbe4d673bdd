package triggers

import (
	"context"
	"time"
)

// Announced looks at an image of another registry that somebody has told of,
// and at our own not, which tells by itself. It may be called again.
func (b *Bases) Announced(ctx context.Context, ref, how string, at time.Time) error {
	ref = Canonical(ref)
	if ref == "" || host(ref) == b.Own {
		return nil
	}
	return b.look(ctx, ref, sighting{how: how, at: at, told: true})
}
