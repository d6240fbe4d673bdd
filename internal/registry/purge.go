package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
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
	removed, err := r.layout.purgeUploads(ctx, t)
	if err != nil {
		return removed, fmt.Errorf("purge uploads: %w", err)
	}
	return removed, nil
}

// purgeUploads is distribution's, but for uploads that come and go while it
// looks: its own gives up then.
func (l layout) purgeUploads(ctx context.Context, t time.Time) (removed int, err error) {
	err = filepath.WalkDir(l.repositories(), func(dir string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case e.Name() == "_uploads":
			n, err := purgeFolder(dir, t)
			if removed += n; err != nil {
				return err
			}
			return fs.SkipDir
		case strings.HasPrefix(e.Name(), "_"):
			return fs.SkipDir
		}
		return nil
	})
	return removed, err
}

// purgeFolder removes the old uploads of a repository.
func purgeFolder(dir string, t time.Time) (removed int, err error) {
	uploads, err := readDir(dir)
	if err != nil {
		return 0, err
	}
	for _, u := range uploads {
		upload := filepath.Join(dir, u.Name())
		at, err := started(upload)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !at.Before(t) {
			continue
		}
		if err := errors.Join(err, os.RemoveAll(upload)); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// started is when an upload began, by its own word, which a crash may have kept
// it from.
func started(upload string) (time.Time, error) {
	b, err := os.ReadFile(filepath.Join(upload, "startedat"))
	if at, e := time.Parse(time.RFC3339, string(b)); err == nil && e == nil {
		return at, nil
	}
	info, err := os.Stat(upload)
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}
