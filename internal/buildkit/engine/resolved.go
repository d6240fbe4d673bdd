//go:build linux

package engine

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"

	"acrd/internal/buildkit/control"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/frontend"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
)

// A recorder is a frontend that also says which images it asked for and what
// they resolved to: the dependencies of a build as BuildKit saw them, not as a
// second look at the registry would.
type recorder struct{ frontend.Frontend }

func (r recorder) Solve(ctx context.Context, bridge frontend.FrontendLLBBridge, exec executor.Executor, opt map[string]string, inputs map[string]*pb.Definition, sid string, sm *session.Manager) (*frontend.Result, error) {
	notes := &notes{FrontendLLBBridge: bridge, seen: map[control.Resolved]bool{}}
	// Without this, a "# syntax=" line would have an image fetched and run
	// as the frontend. The daemon has already judged that line.
	attrs := make(map[string]string, len(opt)+1)
	maps.Copy(attrs, opt)
	attrs["cmdline"] = "builtin"
	result, err := r.Frontend.Solve(ctx, notes, exec, attrs, inputs, sid, sm)
	if err != nil || result == nil {
		return result, err
	}
	b, err := json.Marshal(notes.list())
	if err != nil {
		return nil, err
	}
	result.AddMeta(control.ResolvedKey, b)
	return result, nil
}

// notes is a bridge that writes down what passes it.
type notes struct {
	frontend.FrontendLLBBridge
	mu   sync.Mutex // guards seen
	seen map[control.Resolved]bool
}

func (n *notes) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	asked := op.Identifier // a policy may rewrite it
	resp, err := n.FrontendLLBBridge.ResolveSourceMetadata(ctx, op, opt)
	if err != nil || resp.Image == nil {
		return resp, err
	}
	if ref, ok := strings.CutPrefix(asked, "docker-image://"); ok {
		r := control.Resolved{Ref: ref, Digest: resp.Image.Digest.String()}
		if opt.ImageOpt != nil && opt.ImageOpt.Platform != nil {
			r.Platform = platforms.Format(*opt.ImageOpt.Platform)
		}
		n.mu.Lock()
		n.seen[r] = true
		n.mu.Unlock()
	}
	return resp, nil
}

func (n *notes) list() []control.Resolved {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]control.Resolved, 0, len(n.seen))
	for r := range n.seen {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b control.Resolved) int {
		return strings.Compare(a.Ref+" "+a.Platform, b.Ref+" "+b.Platform)
	})
	return all
}
