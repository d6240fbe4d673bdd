package triggers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"acrd/eventing"
)

// imageWatch is the kind of watches of images. Their ids are canonical
// references.
const imageWatch = "image"

// WatchStore keeps what is looked at again and again. *store.DB is one.
type WatchStore interface {
	Watches(ctx context.Context, kind string) ([]Watch, error)
	AddWatch(ctx context.Context, kind, id string, doc json.RawMessage, next time.Time) error
	ClaimWatches(ctx context.Context, kind string, now time.Time, limit int, lease time.Duration) ([]Watch, error)
	SaveWatch(ctx context.Context, kind string, w Watch, next time.Time) error
	DeleteWatch(ctx context.Context, kind, id string) error
}

// A Seen is what is known of an image that is watched.
type Seen struct {
	Digest string    `json:"digest,omitempty"`
	Looked time.Time `json:"lastLook,omitzero"`
	// Failures are those in a row, and Err the last.
	Failures int    `json:"failures,omitempty"`
	Err      string `json:"error,omitempty"`
	// Suspended says that the registry refuses, and looks have become rare.
	Suspended bool `json:"suspended,omitempty"`
}

// A StatusError is what a registry answered instead of an image. After is how
// long it wants to be left alone, 0 if it does not say.
type StatusError struct {
	Status int
	After  time.Duration
	Err    error
}

func (e *StatusError) Error() string { return e.Err.Error() }
func (e *StatusError) Unwrap() error { return e.Err }

// Bounds of polling.
const (
	lookLease      = time.Minute
	lookTimeout    = 20 * time.Second
	longestPause   = 6 * time.Hour
	suspendedPause = 24 * time.Hour
	refusals       = 3 // in a row suspend a watch
)

// watch begins to look at what a task was built on.
func (b *Bases) watch(ctx context.Context, task string, bases []Base) {
	for _, base := range bases {
		if base.Role == Output {
			continue
		}
		doc, _ := json.Marshal(Seen{}) // cannot fail: only plain values
		if err := b.Store.AddWatch(ctx, imageWatch, base.Ref, doc, time.Now().Add(b.interval(base.Ref))); err != nil {
			b.log().Warn("image is not watched", "task", task, "image", base.Ref, "err", err)
		}
	}
}

// interval is when to look next: by chance, so that not all look at once.
func (b *Bases) interval(ref string) time.Duration {
	every := cmp.Or(b.Others, 20*time.Minute)
	if host(ref) == b.Own {
		every = cmp.Or(b.Every, 5*time.Minute)
	}
	return every + rand.N(every/2+1)
}

// poll looks at what is due. Each image is looked at once for all tasks, by
// HEAD, which registries do not count as a pull; only one that has changed is
// read. Looks at one registry are Pace apart.
func (b *Bases) poll(ctx context.Context) {
	pause := cmp.Or(b.Pace, 500*time.Millisecond)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		due, err := b.Store.ClaimWatches(ctx, imageWatch, time.Now(), 16, lookLease)
		if err != nil && ctx.Err() == nil {
			b.log().Warn("watches cannot be read", "err", err)
		}
		for _, w := range due {
			b.visit(ctx, w)
		}
		timer.Reset(max(pause, time.Second))
	}
}

// visit looks at one image, if its registry may be asked again.
func (b *Bases) visit(ctx context.Context, w Watch) {
	next, ok := b.admit(w.ID)
	if !ok {
		_ = b.Store.SaveWatch(ctx, imageWatch, w, next)
		return
	}
	users := slices.DeleteFunc(b.usages(w.ID), func(u usage) bool { return u.ref != w.ID })
	if len(users) == 0 {
		_ = b.Store.DeleteWatch(ctx, imageWatch, w.ID)
		return
	}
	var seen Seen
	_ = json.Unmarshal(w.Doc, &seen)
	pause := b.see(ctx, w.ID, users, &seen)
	w.Doc, _ = json.Marshal(seen) // cannot fail: only plain values
	if err := b.Store.SaveWatch(ctx, imageWatch, w, time.Now().Add(pause)); err != nil && ctx.Err() == nil {
		b.log().Warn("watch could not be saved", "image", w.ID, "err", err)
	}
}

// admit says whether a registry may be asked now, or else when.
func (b *Bases) admit(ref string) (next time.Time, ok bool) {
	registry := host(ref)
	if registry == b.Own {
		return next, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if next = b.paces[registry]; next.After(now) {
		return next, false
	}
	if b.paces == nil {
		b.paces = map[string]time.Time{}
	}
	b.paces[registry] = now.Add(cmp.Or(b.Pace, 500*time.Millisecond))
	return now, true
}

// see looks at an image, and says when to do so again.
func (b *Bases) see(ctx context.Context, ref string, users []usage, seen *Seen) time.Duration {
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, errors.New("the registry does not answer"))
	defer cancel()
	digest, err := b.Registries.Head(ctx, ref, b.login(ctx, users[0].task, host(ref)))
	seen.Looked = time.Now()
	if isAbsent(err) && slices.ContainsFunc(users, usage.unseen) {
		if err := b.look(ctx, ref, sighting{how: "seen in the registry", at: seen.Looked}); err != nil {
			b.log().Warn("image could not be looked at", "image", ref, "err", err)
		}
	}
	if err == nil {
		if digest != seen.Digest || b.patterned(ctx, users) || slices.ContainsFunc(users, usage.unseen) {
			err = b.look(ctx, ref, sighting{how: "seen in the registry", at: time.Now()})
		}
	}
	if err == nil {
		*seen = Seen{Digest: digest, Looked: seen.Looked}
		return b.interval(ref)
	}
	seen.Failures++
	seen.Err = err.Error()
	return b.retreat(ctx, ref, seen, err)
}

// patterned says that other tags count too, so that the digest of one does not
// say everything.
func (b *Bases) patterned(ctx context.Context, users []usage) bool {
	return slices.ContainsFunc(users, func(u usage) bool {
		trigger, err := b.trigger(ctx, u.task)
		return err == nil && trigger != nil && patternFor(u.ref, trigger.TagPatterns) != nil
	})
}

// retreat is how long to leave an image alone that cannot be looked at.
func (b *Bases) retreat(ctx context.Context, ref string, seen *Seen, err error) time.Duration {
	pause := min(b.interval(ref)<<min(seen.Failures-1, 10), longestPause)
	status, ok := errors.AsType[*StatusError](err)
	if !ok {
		return pause
	}
	switch status.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		pause = max(pause, min(status.After, longestPause))
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.paces == nil {
			b.paces = map[string]time.Time{}
		}
		b.paces[host(ref)] = time.Now().Add(max(time.Minute, min(status.After, longestPause)))
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		if seen.Failures < refusals {
			return pause
		}
		if !seen.Suspended {
			seen.Suspended = true
			b.suspend(ctx, ref, err)
		}
		return suspendedPause
	}
	return pause
}

// suspend tells the owners of the tasks that nobody looks any more.
func (b *Bases) suspend(ctx context.Context, ref string, err error) {
	why := fmt.Sprintf("base image %s cannot be looked at any more: %s", familiar(ref), err)
	b.log().Warn("base image trigger suspended", "image", ref, "err", err)
	for _, u := range b.usages(ref) {
		if b.Events == nil {
			return
		}
		if err := b.Events.AddEvents(ctx, NewEvent(eventing.TriggerSuspended, Intent{Task: u.task, Kind: BaseImage}, Decision{Why: why}, time.Now())); err != nil {
			b.log().Warn("event could not be written", "task", u.task, "err", err)
		}
	}
}
