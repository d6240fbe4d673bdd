package triggers

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// first sees to bases that a scan has found and that nobody has looked at: what
// is there now was there before, unless somebody has pushed it since. Then
// they stay with the usage, and it has changed. Those whose digest is known
// now are returned.
//
// The image was read before the question who has pushed: what comes after
// that is told, or seen, as any push is. If somebody has, it is read again.
func (b *Bases) first(ctx context.Context, u *usage, image *Image, target string, s sighting) ([]Base, error) {
	if !u.unseen() {
		return nil, nil
	}
	var known, seen []Base
	for _, base := range u.bases {
		if !base.unseen() {
			known = append(known, base)
			continue
		}
		pushed, settled, err := b.pushedSince(ctx, u.task, target, base.Scanned, image, s)
		if err != nil {
			return nil, err
		}
		if !settled {
			continue
		}
		if pushed {
			known = append(known, base)
		}
		if base.Digest = image.For(base.Platform); base.Digest != "" {
			seen = append(seen, base)
		}
	}
	u.bases = known
	return seen, nil
}

// pushedSince says whether an image was pushed since a time, and makes it what
// there is after that. It is not settled while the push is under way.
func (b *Bases) pushedSince(ctx context.Context, task, ref string, since time.Time, image *Image, s sighting) (pushed, settled bool, err error) {
	registry := host(ref)
	repository, tag := split(ref[len(registry)+1:])
	digest := ""
	if registry == b.Own {
		digest, err = b.Store.PushedSince(ctx, repository, tag, since)
		pushed = digest != ""
	} else if pushed = s.told && !s.at.Before(since); !pushed {
		pushed, err = b.Store.ToldSince(ctx, repository, tag, since)
	}
	if err != nil || !pushed {
		return false, err == nil, err
	}
	now, err := b.image(ctx, ref, b.login(ctx, task, registry))
	if isAbsent(err) {
		return true, false, nil
	}
	if err != nil {
		return false, false, err
	}
	*image = *now
	return true, digest == "" || digest == now.Digest, nil
}

// saw keeps what was there when tasks were saved. Intents of what has changed
// are kept already: if this process dies in between, they are known.
func (b *Bases) saw(ctx context.Context, seen []Base) error {
	for _, base := range seen {
		if err := b.Store.SeeBase(ctx, base); err != nil {
			return err
		}
		if err := b.refresh(ctx, base.Task); err != nil {
			return err
		}
	}
	return nil
}

// refresh reads again what a task is built on.
func (b *Bases) refresh(ctx context.Context, task string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	bases, err := b.Store.BasesOf(ctx, task)
	if err != nil {
		return err
	}
	if b.built == nil {
		return nil // load reads all
	}
	b.built[task] = bases
	b.draw()
	return nil
}

func (u usage) unseen() bool {
	for _, base := range u.bases {
		if base.unseen() {
			return true
		}
	}
	return false
}

func (u usage) scanned() bool {
	for _, base := range u.bases {
		if !base.Scanned.IsZero() {
			return true
		}
	}
	return false
}

func (b *Base) unseen() bool { return !b.Scanned.IsZero() && b.Digest == "" }

// from is what the base is known from, as keys have it.
func (b *Base) from() string {
	if b.Scanned.IsZero() {
		return b.Run
	}
	return "scan " + strconv.FormatInt(b.Scanned.UnixMicro(), 10)
}

// was is its digest before, for people.
func (b *Base) was(now string) string {
	switch b.Digest {
	case absent:
		return "not there"
	case "", now:
		return "from before"
	}
	return short(b.Digest)
}

// tells says that another registry has told of the image that the first look
// at a base has found: nothing was built on it, and it was pushed since.
func (s sighting) tells(base *Base) bool {
	return s.told && !base.Scanned.IsZero() && !s.at.Before(base.Scanned)
}

func isAbsent(err error) bool {
	status, ok := errors.AsType[*StatusError](err)
	return ok && status.Status == http.StatusNotFound
}
