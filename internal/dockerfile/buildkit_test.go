package dockerfile

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/opencontainers/go-digest"
)

// witness notes for which images BuildKit would ask a registry, several at a
// time.
type witness struct {
	mu    sync.Mutex // guards asked
	asked map[string]bool
}

func (w *witness) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[familiar(ref)] = true
	return ref, "", []byte(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`), nil
}

// convert translates a Dockerfile as the engine does, without one.
func convert(t *testing.T, src string, o Options) ([]string, error) {
	t.Helper()
	targets, err := targetPlatforms(o.Platforms)
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{asked: map[string]bool{}}
	caps := pb.Caps.CapSet(pb.Caps.All())
	opt := dockerfile2llb.ConvertOpt{
		Config:       dockerui.Config{Target: o.Target, BuildArgs: arguments(o.BuildArgs)},
		MetaResolver: w, TargetPlatform: &targets[0], LLBCaps: (*apicaps.CapSet)(&caps),
		MainContext: &llb.State{},
	}
	_, err = dockerfile2llb.Dockerfile2LLB(t.Context(), []byte(src), opt)
	return slices.Sorted(maps.Keys(w.asked)), err
}

// TestBuildKit holds BuildKit to the table of TestRead: the images that it
// asks for are those that we find.
func TestBuildKit(t *testing.T) {
	for name, tt := range samples() {
		t.Run(name, func(t *testing.T) {
			got, err := convert(t, tt.src, tt.o)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]bool{}
			for _, ref := range append(tt.want.BuildTime, tt.want.Runtime) {
				if ref != "" {
					want[familiar(ref)] = true
				}
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("ours (-), BuildKit's (+):\n%s", diff)
			}
		})
	}
}
