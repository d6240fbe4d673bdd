package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"strconv"
	"time"

	"acrd/eventing"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

// A change is one of a repository's manifests or tags: what is to be looked at
// to know whether it was made.
type change struct {
	Repository string
	Tag        string        `json:",omitempty"` // empty: of the manifest Digest
	Digest     digest.Digest `json:",omitempty"` // that Tag is put to
	Gone       bool          `json:",omitempty"` // it is removed
	Released   bool          `json:",omitempty"` // Digest is let out of quarantine
	// Before tells the file of the tag from the one that was there before, for
	// a tag can be put to what it has been put to.
	Before string `json:",omitempty"`
}

// draft is an event about a change that is to be made now.
func (r *Registry) draft(eventType string, t eventing.Target, c change, req *http.Request) eventing.Draft {
	now := time.Now()
	e := eventing.NewRegistryEvent(eventType, now, t, r.origin(req))
	check, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings
	}
	return eventing.Draft{Event: e, Check: check, At: now}
}

// origin is who asks, as events tell it. Host is the name by which the client
// has found us, as it is in ACR's.
func (r *Registry) origin(req *http.Request) eventing.Origin {
	return eventing.Origin{Location: r.location, Actor: actor(req.Context()), Request: &eventing.Request{
		ID: eventing.NewID(), Host: req.Host, Method: req.Method, UserAgent: req.UserAgent(),
	}}
}

// stamp tells one file of a tag from the next.
func (b *backend) stamp(ctx context.Context, name, tag string) (string, error) {
	info, err := b.files.Stat(ctx, path.Join("/docker/registry/v2/repositories", name, "_manifests/tags", tag, "current/link"))
	if _, none := errors.AsType[driver.PathNotFoundError](err); none {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(info.ModTime().UnixNano(), 36), nil
}

// made looks whether a change was made. Nothing may change the repository
// meanwhile, nor may have since.
func (b *backend) made(ctx context.Context, c change) (bool, error) {
	if c.Tag == "" {
		is, err := b.has(ctx, c.Repository, c.Digest)
		return is != c.Gone, err
	}
	is, err := b.tagged(ctx, c.Repository, c.Tag)
	if err != nil || c.Gone {
		return is == "", err
	}
	now, err := b.stamp(ctx, c.Repository, c.Tag)
	return is == c.Digest && now != c.Before, err
}

// reconcile finds out what has become of the drafts from before a time that
// nobody has settled.
func (r *Registry) reconcile(ctx context.Context, before time.Time) error {
	drafts, err := r.ledger.journal.Drafts(ctx, before)
	if err != nil {
		return err
	}
	for _, d := range drafts {
		// Whoever is still about to make the change has the lane; what was
		// decided meanwhile stays decided.
		leave := r.lanes.enter(d.Event.Key)
		err := r.look(ctx, d)
		leave()
		if err != nil {
			r.log.Error("look whether a change was made", "image", d.Event.Subject, "err", err)
		}
	}
	return r.ledger.settle(ctx)
}

// look decides one draft, and finishes a deletion that got half way, or that of
// a tag. The caller has the lane of its repository.
func (r *Registry) look(ctx context.Context, d eventing.Draft) error {
	var c change
	if err := json.Unmarshal(d.Check, &c); err != nil {
		return err
	}
	if c.Released {
		r.ledger.decide(d, !r.attributesOf(lockManifest(c.Repository, c.Digest)).Held())
		return nil
	}
	made, err := r.backend.made(ctx, c)
	if err != nil {
		return err
	}
	if made && c.Gone && c.Tag == "" {
		err = r.finishDeletion(ctx, c)
	} else if c.Tag != "" {
		err = r.layout.dropHalf(c.Repository, c.Tag)
	}
	if err != nil {
		return err
	}
	r.ledger.decide(d, made)
	return nil
}

// finishDeletion removes the tags of a manifest that is gone, or what is left of
// them.
func (r *Registry) finishDeletion(ctx context.Context, c change) error {
	if err := r.backend.untagAll(ctx, c.Repository, c.Digest); err != nil {
		return err
	}
	tags, err := readDir(r.layout.tags(c.Repository))
	for _, t := range tags {
		err = errors.Join(err, r.layout.dropHalf(c.Repository, t.Name()))
	}
	r.views.changed(c.Repository)
	return err
}

// Serve tells events about changes, until ctx has ended. Without it they are
// told by the next change, and by Close.
func (r *Registry) Serve(ctx context.Context) error {
	if r.ledger.journal == nil {
		<-ctx.Done()
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.ledger.serve(ctx)
	}()
	defer func() { <-done }()
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := r.reconcile(ctx, time.Now().Add(-reconcileAge)); err != nil && ctx.Err() == nil {
				r.log.Warn("look after changes that were left open", "err", err)
			}
		}
	}
}
