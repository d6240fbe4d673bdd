package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"acrd/internal/api"
	"acrd/internal/contexts"
	"acrd/internal/source"
	"acrd/runner"
	"acrd/steps"
)

// sources joins the ways in which files come to a run: fetched by the daemon,
// or uploaded by a client, file by file or as an archive.
type sources struct {
	fetcher  *source.Fetcher
	uploads  *contexts.Store
	archives *api.Archives
}

// Fetch gets a remote context.
func (s *sources) Fetch(ctx context.Context, c steps.Context, dir string, out io.Writer) (*steps.Fetched, error) {
	fetched, err := s.fetcher.Fetch(ctx, c, dir, out)
	if err != nil {
		return nil, err
	}
	return &steps.Fetched{Dir: fetched.Dir, Commit: fetched.Commit, Branch: fetched.Branch}, nil
}

// Upload opens what a client has sent.
func (s *sources) Upload(ctx context.Context, id, dir string, writable bool) (runner.Checkout, error) {
	if strings.HasPrefix(id, runner.ArchivePrefix) {
		return s.unpack(ctx, id, dir)
	}
	digest, err := contexts.ParseDigest(id)
	if err != nil {
		return nil, err
	}
	tree, err := s.uploads.Open(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("uploaded context: %w", err)
	}
	if !writable {
		return checkout{tree.Dir, tree.Name, func() error { tree.Close(); return nil }}, nil
	}
	w, err := tree.Overlay(dir)
	if err != nil {
		tree.Close()
		return nil, err
	}
	return checkout{w.Dir, tree.Name, w.Close}, nil
}

// unpack takes an uploaded archive apart, in the run's own folder.
func (s *sources) unpack(ctx context.Context, path, dir string) (runner.Checkout, error) {
	f, err := s.archives.Open(path)
	if err != nil {
		return nil, fmt.Errorf("uploaded archive: %w", err)
	}
	defer f.Close()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := source.Extract(ctx, f, root, s.fetcher.Limits); err != nil {
		return nil, fmt.Errorf("uploaded archive: %w", err)
	}
	return checkout{dir, path, func() error { return nil }}, os.Chmod(dir, 0o777) //nolint:gosec // steps run as any user
}

type checkout struct {
	dir, key string
	close    func() error
}

func (c checkout) Dir() string  { return c.dir }
func (c checkout) Key() string  { return c.key }
func (c checkout) Close() error { return c.close() }
