//go:build linux

package engine

import (
	"errors"
	"os/exec"
	"testing"

	"acrd/internal/buildkit/control"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/moby/buildkit/cache"
	"github.com/moby/buildkit/worker/base"
)

// TestCutRemoval ends an engine in between the two halves of a removal from
// the cache: the hold on a snapshot is gone, and the record of it is not. The
// next engine must not find it, for it would vanish under a build.
func TestCutRemoval(t *testing.T) {
	if _, err := exec.LookPath("runc"); err != nil {
		t.Skip("runc is not installed: make deps")
	}
	e := &engine{config: control.Config{Dir: t.TempDir()}}
	w, end := openStores(t, e)
	kept, cut := newSource(t, w), newSource(t, w)
	if err := w.LeaseManager().Delete(in(t.Context()), leases.Lease{ID: cut}); err != nil {
		t.Fatal(err)
	}
	end()

	w, end = openStores(t, e)
	defer end()
	if _, err := w.CacheMgr.GetMutable(t.Context(), cut); !cache.IsNotFound(err) {
		t.Errorf("the record that nothing holds the snapshot of: %v", err)
	}
	if _, err := w.CacheMgr.GetMutable(t.Context(), kept); err != nil {
		t.Errorf("the record that was left alone: %v", err)
	}
}

// openStores opens what an engine keeps of builds. The end is an orderly one.
func openStores(t *testing.T, e *engine) (w *base.Worker, end func()) {
	t.Helper()
	k := &kit{}
	options, err := k.workerOptions(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if w, err = base.NewWorker(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	return w, func() {
		if err := errors.Join(w.Close(), k.metadata.Close(), w.Snapshotter.Close()); err != nil {
			t.Error(err)
		}
	}
}

// newSource makes a record as BuildKit has one of each folder that it copied.
func newSource(t *testing.T, w *base.Worker) (id string) {
	t.Helper()
	ref, err := w.CacheMgr.New(t.Context(), nil, nil, cache.CachePolicyRetain)
	if err != nil {
		t.Fatal(err)
	}
	if err := ref.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	return ref.ID()
}
