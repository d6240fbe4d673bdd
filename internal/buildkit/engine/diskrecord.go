//go:build linux

package engine

import (
	"context"
	"sync"

	"acrd/internal/mounts"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/executor"
)

// A diskRecord learns where a RUN writes, from what its executor mounts.
type diskRecord struct {
	mu    sync.Mutex // guards found
	found []recorded
}

type recorded struct {
	path string
	root bool
}

// listen returns m as it is, but for being listened to.
func (r *diskRecord) listen(m executor.Mount, root bool) executor.Mount {
	if m.Src != nil && !m.Readonly {
		m.Src = recordedSource{m.Src, r, root}
	}
	return m
}

type recordedSource struct {
	executor.Mountable
	record *diskRecord
	root   bool
}

func (s recordedSource) Mount(ctx context.Context, readonly bool) (executor.MountableRef, error) {
	ref, err := s.Mountable.Mount(ctx, readonly)
	if err != nil {
		return nil, err
	}
	return recordedRef{ref, s.record, s.root}, nil
}

type recordedRef struct {
	executor.MountableRef
	record *diskRecord
	root   bool
}

func (s recordedRef) Mount() ([]mount.Mount, func() error, error) {
	all, release, err := s.MountableRef.Mount()
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	for _, m := range all {
		if m.Type == "bind" || m.Type == "rbind" { // an overlay comes as one, too
			s.record.found = append(s.record.found, recorded{m.Source, s.root})
		}
	}
	return all, release, err
}

// written are the folders behind overlays, which are new, and others as they
// are.
func (r *diskRecord) written() (in written) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.found {
		if upper := mounts.Upper(m.path); upper != "" {
			in.fresh = append(in.fresh, upper)
		} else if m.root {
			in.fresh = append(in.fresh, m.path)
		} else {
			in.old = append(in.old, m.path)
		}
	}
	return in
}
