package contexts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Collect makes room. Contexts that were not of use for maxAge go (0: none
// for its age), then the least recently used ones until at most keepBytes of
// content are left (negative: no bound); what is open or kept stays, whatever
// it holds.
// Contents go when no tree has them and no context that is still to be laid
// out lists them. It returns the bytes that it freed.
//
// Planning and opening wait while Collect looks through the blobs, not while
// it removes trees.
func (s *Store) Collect(ctx context.Context, keepBytes int64, maxAge time.Duration) (freed int64, err error) {
	if err := s.ready(); err != nil {
		return 0, err
	}
	uses, err := s.uses()
	if err != nil {
		return 0, fmt.Errorf("collect contexts: %w", err)
	}
	uses = slices.DeleteFunc(uses, func(u use) bool { return s.inUse(u.context) })
	for maxAge > 0 && len(uses) > 0 && time.Since(uses[0].last) > maxAge {
		if _, err := s.evict(uses[0]); err != nil {
			return 0, fmt.Errorf("collect contexts: %w", err)
		}
		uses = uses[1:]
	}
	freed, kept, err := s.sweep(ctx)
	if err == nil && keepBytes >= 0 && kept > keepBytes {
		var more int64
		more, err = s.shrink(ctx, uses, kept-keepBytes)
		freed += more
	}
	if err != nil {
		return freed, fmt.Errorf("collect contexts: %w", err)
	}
	return freed, nil
}

// Keep keeps Collect from removing a context, laid out or not, until release is
// called.
func (s *Store) Keep(d Digest) (release func(), err error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[d]++
	return sync.OnceFunc(func() { s.release(d) }), nil
}

func (s *Store) inUse(d Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[d] > 0 || s.building[d] != nil
}

// A use is when a context was last planned or opened.
type use struct {
	context Digest
	last    time.Time
}

// uses lists the contexts, least recently used first.
func (s *Store) uses() ([]use, error) {
	dirs, err := os.ReadDir(s.path("contexts"))
	if err != nil {
		return nil, err
	}
	var uses []use
	for _, dir := range dirs {
		d, err := ParseDigest(digestPrefix + dir.Name())
		if err != nil {
			continue
		}
		uses = append(uses, use{context: d, last: s.lastUsed(d)})
	}
	slices.SortFunc(uses, func(a, b use) int { return a.last.Compare(b.last) })
	return uses, nil
}

// lastUsed is long ago for a context that a crash left half made.
func (s *Store) lastUsed(d Digest) time.Time {
	info, err := os.Stat(s.contextPath(d, "name"))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// shrink evicts contexts in order until excess bytes have been freed.
func (s *Store) shrink(ctx context.Context, uses []use, excess int64) (freed int64, err error) {
	due := int64(0) // freed by the next sweep
	for _, u := range uses {
		if freed+due >= excess || ctx.Err() != nil {
			break
		}
		laidOut := s.hasTree(u.context)
		unlinked, err := s.evict(u)
		if err != nil {
			return freed, err
		}
		if due += unlinked; laidOut {
			continue
		}
		swept, _, err := s.sweep(ctx) // it awaited contents that nobody has counted
		freed, due = freed+swept, 0
		if err != nil {
			return freed, err
		}
	}
	swept, _, err := s.sweep(ctx)
	return freed + swept, err
}

// evict removes a context unless it is in use, or has been since u. It returns
// how many bytes of content only its tree had.
func (s *Store) evict(u use) (unlinked int64, err error) {
	tmp, err := os.MkdirTemp(s.path("tmp"), "evicted-*")
	if err != nil {
		return 0, err
	}
	err = s.moveAway(u, filepath.Join(tmp, "context"))
	unlinked, removeErr := removeTree(tmp)
	return unlinked, errors.Join(err, removeErr)
}

func (s *Store) moveAway(u use, target string) error {
	s.relied.Lock()
	defer s.relied.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	d := u.context
	if s.held[d] > 0 || s.building[d] != nil || s.lastUsed(d).After(u.last) {
		return nil
	}
	err := os.Rename(s.contextPath(d, ""), target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another Collect was here
	}
	return err
}
