package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"acrd/steps"
)

// A Change is a commit as seen from an earlier one.
type Change struct {
	Message string
	// Paths are those that are not the same in both, if Known.
	Paths []string
	Known bool
}

// Change tells what a commit of the repository c is, and which paths are other
// than in an earlier commit, unless that is empty. The earlier one may have
// gone from the server. What is fetched for it is there for the build, too.
func (f *Fetcher) Change(ctx context.Context, c steps.Context, before, after string) (*Change, error) {
	if !isHash(after) || before != "" && !isHash(before) || f.Dir == "" {
		return nil, errors.New("a change is between two commits, and needs a folder")
	}
	limits := f.Limits.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, limits.Total, fmt.Errorf("%w: not done within %v", ErrLimit, limits.Total))
	defer cancel()
	var cred credential
	if scheme, host := gitHost(c.URL); scheme == "http" || scheme == "https" {
		cred = f.credential(ctx, c, scheme, host)
	}
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of mirrors: %w", cause(err))
	}
	change := new(Change)
	err := f.withMirror(ctx, c, cred, func(m *mirror) error {
		from, err := f.reach(ctx, c.URL, cred, &meter{limits: limits})
		if err != nil {
			return err
		}
		defer from.close()
		return m.change(ctx, from, before, after, change)
	})
	if err != nil {
		return nil, fmt.Errorf("commit %s of %s: %w", after, c, err)
	}
	return change, nil
}

func (m *mirror) change(ctx context.Context, from *peer, before, after string, change *Change) error {
	if err := m.need(ctx, from, after); err != nil {
		return err
	}
	text, err := m.f.gitOutput(ctx, gitCommand{gitDir: m.dir, args: []string{"cat-file", "commit", after}})
	if err != nil {
		return m.suspect(err)
	}
	_, change.Message, _ = strings.Cut(text, "\n\n")
	if before == "" {
		return m.tidy(ctx)
	}
	if err := m.need(ctx, from, before); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return nil // a branch was rewritten, and nobody has what it was
	}
	if change.Paths, err = m.paths(ctx, before, after); err != nil {
		return m.suspect(err)
	}
	change.Known = true
	return m.tidy(ctx)
}

// need fetches an object that is not there.
func (m *mirror) need(ctx context.Context, from *peer, hash string) error {
	if m.has(ctx, hash) {
		return nil
	}
	return m.fetch(ctx, from, hash)
}

func (m *mirror) paths(ctx context.Context, before, after string) ([]string, error) {
	var paths []string
	err := m.f.git(ctx, gitCommand{
		gitDir: m.dir,
		args:   []string{"diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--end-of-options", before, after},
		stdout: &records{each: func(path string) error {
			if len(paths) >= m.f.Limits.withDefaults().Entries {
				return fmt.Errorf("%w: a change of more than %d files", ErrLimit, len(paths))
			}
			paths = append(paths, path)
			return nil
		}},
	})
	return paths, err
}
