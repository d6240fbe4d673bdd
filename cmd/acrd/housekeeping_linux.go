package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"acrd/internal/acr"
	"acrd/internal/api"
	"acrd/internal/contexts"
	"acrd/internal/source"
	"acrd/runner"
)

// What the daemon keeps of its own accord, and for how long. The build cache
// has a policy of its own, see cacheFlags.
const (
	// uploadAge is how long a context that nobody sends again is kept, and
	// uploadShare which part of the disk they may all take.
	uploadAge   = 7 * 24 * time.Hour
	uploadShare = 20 // one twentieth
	// archiveAge is how long an archive is kept after its upload.
	archiveAge = 24 * time.Hour
	// mirrorAge is how long a git mirror that nobody fetches from is kept.
	mirrorAge = 14 * 24 * time.Hour
	// pushAge is how long an unfinished push to the registry is kept, and what
	// no manifest needs: a client may come back to it.
	pushAge = 24 * time.Hour

	housekeepingEvery = time.Hour
	registryEvery     = 24 * time.Hour // it reads every repository
)

// housekeeping frees, once an hour, what nobody has needed for long.
type housekeeping struct {
	*daemon
	uploads *contexts.Store
	fetcher *source.Fetcher
	// archives are uploads as az makes them.
	archives *api.Archives
	purged   time.Time
}

func (h *housekeeping) serve(ctx context.Context) {
	tick := time.NewTicker(housekeepingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := h.once(ctx, time.Now()); err != nil && ctx.Err() == nil {
				h.log.Warn("housekeeping", "err", err)
			}
		}
	}
}

func (h *housekeeping) once(ctx context.Context, now time.Time) error {
	freed, err := h.collectUploads(ctx, now)
	errs := []error{err, h.fetcher.Prune(ctx, mirrorAge), h.expire(ctx)}
	var g acr.Garbage
	if now.Sub(h.purged) >= registryEvery {
		h.purged = now
		g, err = h.collect(ctx, acr.Collecting{GraceSeconds: int(pushAge.Seconds())})
		errs = append(errs, err)
	}
	if freed > 0 || g != (acr.Garbage{}) {
		h.log.Info("housekeeping", "contexts-freed-bytes", freed, "pushes-removed", g.Uploads, "blobs-removed", g.Blobs, "blobs-freed-bytes", g.Bytes)
	}
	return errors.Join(errs...)
}

// collectUploads frees uploads, but those of runs that have yet to begin.
func (h *housekeeping) collectUploads(ctx context.Context, now time.Time) (freed int64, err error) {
	waiting, err := h.store.Runs(ctx, runner.Filter{Statuses: []runner.Status{runner.Queued, runner.Started}})
	if err != nil {
		return 0, err
	}
	oldest := now
	for _, run := range waiting {
		id, uploaded := strings.CutPrefix(run.Request.Source, runner.UploadScheme)
		if !uploaded {
			continue
		}
		if run.Created.Before(oldest) {
			oldest = run.Created
		}
		digest, err := contexts.ParseDigest(id)
		if err != nil {
			continue // an archive's
		}
		release, err := h.uploads.Keep(digest)
		if err != nil {
			return 0, err
		}
		defer release()
	}
	freed, err = h.uploads.Collect(ctx, diskSize(h.state)/uploadShare, uploadAge)
	unpacked, e := h.archives.Sweep(oldest.Add(-archiveAge))
	return freed + unpacked, errors.Join(err, e)
}

// collect frees what nobody needs of the registry. Uploads get the same time
// as blobs, but a day at least: their clients may be slow.
func (d *daemon) collect(ctx context.Context, c acr.Collecting) (acr.Garbage, error) {
	now, grace := time.Now(), time.Duration(c.GraceSeconds)*time.Second
	if !c.DryRun {
		if err := errors.Join(d.retain(ctx), d.registry.ExpireDeleted(now.AddDate(0, 0, -d.registry.Policies().SoftDelete.RetentionDays))); err != nil {
			return acr.Garbage{}, err
		}
	}
	g, err := d.registry.Collect(ctx, now.Add(-grace), c.DryRun)
	if err != nil || c.DryRun {
		return g, err
	}
	g.Uploads, err = d.registry.PurgeUploads(ctx, now.Add(-max(grace, pushAge)))
	return g, err
}

// retain deletes manifests that have had no tag for long, if that is the
// policy.
func (d *daemon) retain(ctx context.Context) error {
	policy := d.registry.Policies().Retention
	if !policy.Enabled() {
		return nil
	}
	p := &acr.Purge{
		Client: &acr.Client{}, Registry: d.host(), Out: io.Discard, UntaggedOnly: true, Retention: true,
		Ago: time.Duration(policy.Days) * 24 * time.Hour, Since: policy.Updated,
	}
	err := purgeInside(ctx, p, d.path("registry.sock"))
	if _, n := p.Removed(); n > 0 {
		d.log.Info("retention policy", "manifests-deleted", n)
	}
	return err
}
