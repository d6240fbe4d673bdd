//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"acrd/internal/buildkit/container"
	"acrd/internal/buildkit/network"

	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/executor/resources"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/executor/runcexecutor"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	bknetwork "github.com/moby/buildkit/util/network"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A buildExecutor runs the RUN instructions of Dockerfiles: BuildKit's own
// executor, on our network, in a control group that is limited and that still
// tells afterwards which limit was hit.
type buildExecutor struct {
	executor.Executor
	e     *engine
	count atomic.Int64
}

// buildGroup travels from Run to the network provider, which is the only one
// whom BuildKit lets edit a container's spec.
type buildGroup struct{}

func (e *engine) newExecutor(dir string, providers map[pb.NetMode]bknetwork.Provider, monitor *resources.Monitor) (executor.Executor, error) {
	inner, err := runcexecutor.New(runcexecutor.Opt{
		Root: dir, ProcessMode: oci.ProcessSandbox, ResourceMonitor: monitor,
	}, providers)
	if err != nil {
		return nil, fmt.Errorf("build executor: %w", err)
	}
	return &buildExecutor{Executor: inner, e: e}, nil
}

func (b *buildExecutor) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, p executor.ProcessInfo, started chan<- struct{}) (resourcestypes.Recorder, error) {
	if id == "" {
		id = b.e.containerPrefix() + identity.NewID()
	}
	group := b.e.group("builds", fmt.Sprint(b.count.Add(1)))
	groups := b.e.runtime.Cgroups
	if err := groups.Create(group, container.Limits(b.e.config.Run)); err != nil {
		return nil, err
	}
	var record diskRecord
	root, mounts = record.listen(root, true), slices.Clone(mounts)
	for i, m := range mounts {
		mounts[i] = record.listen(m, false)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := diskWatch{limit: b.e.config.Disk, dirs: record.written, over: cancel}
	rec, err := b.run(ctx, group, &watch, func(ctx context.Context) (resourcestypes.Recorder, error) {
		return b.Executor.Run(ctx, id, root, mounts, p, started)
	})
	if exit, ok := errors.AsType[*gatewaypb.ExitError](err); ok && context.Cause(ctx) == nil {
		switch {
		case exit.ExitCode == 137 && groups.HitMemoryLimit(group):
			err = fmt.Errorf("out of memory (limit %d MiB): %w", b.e.config.Run.Memory>>20, err)
		case groups.HitPIDLimit(group):
			err = fmt.Errorf("too many processes (limit %d): %w", b.e.config.Run.PIDs, err)
		}
	}
	if e := groups.Remove(group); e != nil {
		b.e.log.Warn("build left something behind", "err", e)
	}
	return rec, err
}

// containerPrefix begins the ids of BuildKit's containers, so that whoever finds
// what is left of one in runc's folder, which is everybody's, knows whose it was.
func (e *engine) containerPrefix() string { return "acrd" + e.config.Instance }

// killEvery is how often a RUN that has been cancelled is killed until it is
// gone: a process may still be on its way into the control group.
const killEvery = 20 * time.Millisecond

// run lets BuildKit's executor do its work, and kills by the control group when
// ctx has ended. BuildKit would ask runc once: a runc that has started the
// container, and has not written that down yet, knows of none, and then
// BuildKit kills runc and leaves the container running.
func (b *buildExecutor) run(ctx context.Context, group string, watch *diskWatch, do func(context.Context) (resourcestypes.Recorder, error)) (resourcestypes.Recorder, error) {
	ended := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() { watch.watch(ended) })
	beside.Go(func() {
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		for {
			b.e.runtime.Cgroups.Signal(group, unix.SIGKILL)
			select {
			case <-ended:
				return
			case <-time.After(killEvery):
			}
		}
	})
	rec, err := do(context.WithValue(context.WithoutCancel(ctx), buildGroup{}, group))
	close(ended)
	beside.Wait()
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return rec, err
}

// networkProviders are the networks of RUN: our bridge by default, and the
// host's and none where the Dockerfile asks and may.
func (e *engine) networkProviders() map[pb.NetMode]bknetwork.Provider {
	return map[pb.NetMode]bknetwork.Provider{
		pb.NetMode_UNSET: buildNetwork{func(ctx context.Context) (*network.Endpoint, error) { return e.builds.Attach(ctx, "") }},
		pb.NetMode_NONE:  buildNetwork{func(context.Context) (*network.Endpoint, error) { return network.Nowhere() }},
		pb.NetMode_HOST:  buildNetwork{func(context.Context) (*network.Endpoint, error) { return nil, nil }},
	}
}

type buildNetwork struct {
	attach func(context.Context) (*network.Endpoint, error)
}

func (buildNetwork) Close() error { return nil }

func (n buildNetwork) New(ctx context.Context, _ string, _ bknetwork.NamespaceOptions) (bknetwork.Namespace, error) {
	endpoint, err := n.attach(ctx)
	if err != nil {
		return nil, err
	}
	group, _ := ctx.Value(buildGroup{}).(string)
	return &buildNamespace{endpoint, group}, nil
}

// A buildNamespace is the network of one RUN. A nil endpoint is the host's.
type buildNamespace struct {
	endpoint *network.Endpoint
	group    string
}

// Set edits the container's spec. BuildKit calls it last, so what it says
// about the control group holds.
func (n *buildNamespace) Set(s *specs.Spec) error {
	if n.group != "" {
		s.Linux.CgroupsPath = filepath.Join(n.group, "run")
	}
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(ns specs.LinuxNamespace) bool {
		return ns.Type == specs.NetworkNamespace
	})
	if n.endpoint != nil {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: n.endpoint.Path()})
	}
	return nil
}

func (n *buildNamespace) Close() error {
	if n.endpoint == nil {
		return nil
	}
	return n.endpoint.Close()
}

func (*buildNamespace) Sample() (*resourcestypes.NetworkSample, error) { return nil, nil }
