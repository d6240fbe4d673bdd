//go:build linux

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"acrd/internal/buildkit/control"
	"acrd/internal/mounts"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/worker"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// A rootImage is an image that a run's containers start from: its config, and
// its layers unpacked and mounted read-only by BuildKit.
type rootImage struct {
	loaded  chan struct{} // closed when the rest is set
	err     error
	config  ocispecs.Image
	lower   []string // folders, uppermost first
	unmount func() error
}

func (i *rootImage) release() error {
	if i.unmount == nil {
		return nil
	}
	return i.unmount()
}

// image resolves x's image and holds it for as long as the run is open. A
// reference means the same thing for the whole run, like on a machine that
// has pulled it once; the run's own images are looked up each time, because a
// later build may have given the name to another.
func (r *run) image(ctx context.Context, x control.Exec) (*rootImage, error) {
	select {
	case <-r.lent:
	case <-r.closing:
		return nil, errRunClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	platform := platforms.Normalize(platforms.DefaultSpec())
	if x.Platform != "" {
		var err error
		if platform, err = platforms.Parse(x.Platform); err != nil {
			return nil, fmt.Errorf("platform: %w", err)
		}
	}
	key := x.Image + " " + platforms.FormatAll(platform)
	if x.Own {
		own, err := r.e.kit.images.Get(ctx, x.Image)
		if err != nil {
			return nil, fmt.Errorf("image of this run: %w", err)
		}
		key += " " + own.Target.Digest.String()
	}
	i := r.startLoading(key, x, platform)
	select {
	case <-i.loaded:
		return i, i.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// startLoading loads an image for everybody who wants it. It goes on when the
// first who asked has given up, for a retry or a neighbour; the end of the run
// is its end.
func (r *run) startLoading(key string, x control.Exec, platform ocispecs.Platform) *rootImage {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, ok := r.images[key]; ok {
		return i
	}
	i := &rootImage{loaded: make(chan struct{})}
	r.images[key] = i
	r.tidying.Go(func() {
		defer close(i.loaded)
		ctx, cancel := context.WithCancelCause(context.Background())
		defer cancel(nil)
		stop := closer(r.closing, func() { cancel(errRunClosed) })
		defer stop()
		if i.err = i.load(ctx, r, x, platform); i.err != nil {
			r.mu.Lock()
			delete(r.images, key) // a retry of the step tries again
			r.mu.Unlock()
		}
	})
	return i
}

// closer calls f once done is closed, unless stop comes first.
func closer(done <-chan struct{}, f func()) (stop func()) {
	stopped := make(chan struct{})
	go func() {
		select {
		case <-done:
			f()
		case <-stopped:
		}
	}()
	return func() { close(stopped) }
}

func (i *rootImage) load(ctx context.Context, r *run, x control.Exec, platform ocispecs.Platform) error {
	mode := llb.ResolveModeDefault
	if x.Own {
		mode = llb.ResolveModePreferLocal
	}
	ref := x.Image
	resp, err := r.bridge.ResolveSourceMetadata(ctx, &pb.SourceOp{Identifier: "docker-image://" + ref}, sourceresolver.Opt{
		ImageOpt: &sourceresolver.ResolveImageOpt{ResolveMode: mode.String(), Platform: &platform},
	})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(resp.Image.Config, &i.config); err != nil {
		return fmt.Errorf("image config: %w", err)
	}
	if !x.Own && !strings.Contains(ref, "@") {
		ref += "@" + resp.Image.Digest.String() // what was resolved is what runs
	}
	def, err := llb.Image(ref, mode, llb.Platform(platform)).Marshal(ctx, llb.Platform(platform))
	if err != nil {
		return fmt.Errorf("image source: %w", err)
	}
	result, err := r.bridge.Solve(ctx, frontend.SolveRequest{Definition: def.ToPB(), Evaluate: true}, r.sid)
	if err != nil {
		return err
	}
	return i.mount(ctx, r, result)
}

func (i *rootImage) mount(ctx context.Context, r *run, result *frontend.Result) error {
	proxy, err := result.SingleRef()
	if err != nil || proxy == nil {
		return err // an image without a layer
	}
	cached, err := proxy.Result(ctx)
	if err != nil {
		return err
	}
	ref, ok := cached.Sys().(*worker.WorkerRef)
	if !ok {
		return fmt.Errorf("unexpected image reference %T", cached.Sys())
	}
	if ref.ImmutableRef == nil {
		return nil
	}
	mountable, err := ref.ImmutableRef.Mount(ctx, true, session.NewGroup(r.sid))
	if err != nil {
		return fmt.Errorf("mount image: %w", err)
	}
	mounts, unmount, err := mountable.Mount()
	if err != nil {
		return fmt.Errorf("mount image: %w", err)
	}
	i.unmount = unmount
	i.lower, err = lowerDirs(mounts)
	return err
}

// lowerDirs finds the folders behind what the overlay snapshotter calls a
// read-only view: one bind mount, or an overlay without an upper folder.
func lowerDirs(mounts []mount.Mount) ([]string, error) {
	if len(mounts) != 1 {
		return nil, fmt.Errorf("image has %d mounts", len(mounts))
	}
	switch m := mounts[0]; m.Type {
	case "bind", "rbind":
		return []string{m.Source}, nil
	case "overlay":
		for _, o := range m.Options {
			if dirs, ok := strings.CutPrefix(o, "lowerdir="); ok {
				return strings.Split(dirs, ":"), nil
			}
		}
	}
	return nil, fmt.Errorf("image is mounted as %s", mounts[0].Type)
}

// A rootfs is the writable file system of one container: an overlay on an
// image, in the execution's own folder.
type rootfs struct{ dir string }

func newRootfs(dir string, i *rootImage) (*rootfs, error) {
	for _, d := range []string{"..", ".", "upper", "work", "root"} {
		if err := makeFolder(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("container folder: %w", err)
		}
	}
	lower := i.lower
	if len(lower) == 0 {
		empty := filepath.Join(dir, "empty")
		if err := os.Mkdir(empty, 0o755); err != nil {
			return nil, fmt.Errorf("container folder: %w", err)
		}
		lower = []string{empty}
	}
	m := mount.Mount{Type: "overlay", Source: "overlay", Options: []string{
		"upperdir=" + filepath.Join(dir, "upper"), "workdir=" + filepath.Join(dir, "work"),
		"lowerdir=" + strings.Join(lower, ":"),
	}}
	r := &rootfs{dir}
	if err := m.Mount(r.path()); err != nil {
		return nil, fmt.Errorf("mount container: %w", err)
	}
	return r, nil
}

func (r *rootfs) path() string { return filepath.Join(r.dir, "root") }

func (r *rootfs) close() error {
	return errors.Join(mounts.Detach(r.path()), os.RemoveAll(r.dir))
}
